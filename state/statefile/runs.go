package statefile

import (
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/state"
)

type runsFile struct {
	header
	Runs []state.Run `json:"runs"`
}

// AppendRuns appends the plain bytes of a runs segment.
func AppendRuns(dst []byte, runs []state.Run) ([]byte, error) {
	data, err := encode(runsFile{header{FormatVersion, "runs"}, inUTC(runs)})
	if err != nil {
		return nil, fmt.Errorf("encode runs: %w", err)
	}
	return append(append(dst, data...), '\n'), nil
}

// DecodeRuns reads a runs segment; name is the object's, for errors.
func DecodeRuns(name string, plain []byte) ([]state.Run, error) {
	var f runsFile
	if err := f.decode(name, "runs", plain, &f); err != nil {
		return nil, err
	}
	return f.Runs, nil
}

// inUTC copies runs with all times in UTC, so that one moment has one written form.
func inUTC(runs []state.Run) []state.Run {
	runs = slices.Clone(runs)
	for i := range runs {
		r := &runs[i]
		r.Started, r.Finished = r.Started.UTC(), r.Finished.UTC()
		r.Actions = slices.Clone(r.Actions)
		for j := range r.Actions {
			a := &r.Actions[j]
			a.Slot, a.Started, a.Finished = a.Slot.UTC(), a.Started.UTC(), a.Finished.UTC()
		}
	}
	return runs
}
