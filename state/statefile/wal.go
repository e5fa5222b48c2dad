package statefile

import (
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/state"
)

type walFile struct {
	header
	Backups []walBackup `json:"backups"`
}

type walBackup struct {
	Address string      `json:"address"`
	WAL     []state.WAL `json:"wal"`
}

// AppendWAL appends the plain bytes of a wal segment: the write-ahead logs of the given addresses, in that order.
func AppendWAL(dst []byte, addresses []string, logs map[string][]state.WAL) ([]byte, error) {
	f := walFile{header: header{FormatVersion, "wal"}}
	for _, address := range addresses {
		f.Backups = append(f.Backups, walBackup{address, logsInUTC(logs[address])})
	}
	data, err := encode(f)
	if err != nil {
		return nil, fmt.Errorf("encode WAL: %w", err)
	}
	return append(append(dst, data...), '\n'), nil
}

// DecodeWAL reads a wal segment and hands each backup's logs to add; name is the object's, for errors.
func DecodeWAL(name string, plain []byte, add func(address string, logs []state.WAL)) error {
	var f walFile
	if err := f.decode(name, "wal", plain, &f); err != nil {
		return err
	}
	for _, b := range f.Backups {
		for i := range b.WAL {
			if err := checkRanges(b.WAL[i].Timelines); err != nil {
				return corrupt(name, "WAL of %s in %s: %w", b.Address, b.WAL[i].Store, err)
			}
		}
		add(b.Address, b.WAL)
	}
	return nil
}

// checkRanges refuses timelines and ranges that are not in order, from which wrong windows would be computed.
func checkRanges(timelines []state.Timeline) error {
	for i, t := range timelines {
		if i > 0 && t.ID <= timelines[i-1].ID {
			return fmt.Errorf("timeline %d stands behind %d", t.ID, timelines[i-1].ID)
		}
		end := state.LSN(0)
		for j, r := range t.Ranges {
			if r.To <= r.From || j > 0 && r.From <= end {
				return fmt.Errorf("timeline %d: the range from %s to %s does not follow %s", t.ID, r.From, r.To, end)
			}
			end = r.To
		}
	}
	return nil
}

// logsInUTC copies logs with all times in UTC, so that one moment has one written form.
func logsInUTC(logs []state.WAL) []state.WAL {
	logs = slices.Clone(logs)
	for i := range logs {
		w := &logs[i]
		w.Seen, w.Timelines = w.Seen.UTC(), slices.Clone(w.Timelines)
		for j := range w.Timelines {
			t := &w.Timelines[j]
			t.Ranges = slices.Clone(t.Ranges)
			for k := range t.Ranges {
				t.Ranges[k].Since, t.Ranges[k].Until = t.Ranges[k].Since.UTC(), t.Ranges[k].Until.UTC()
			}
		}
	}
	return logs
}
