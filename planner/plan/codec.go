package plan

import (
	"encoding/json"
	"fmt"
	"strings"
)

// document is the public JSON form: the plan and what is derived from it, so that readers need not guess.
type document struct {
	FormatVersion string `json:"format_version"`
	HasChanges    bool   `json:"has_changes"`
	HasActions    bool   `json:"has_actions"`
	HasDrift      bool   `json:"has_drift"`
	HasViolations bool   `json:"has_violations"` // a house rule does not hold, or a guard blocks
	Destructive   bool   `json:"destructive"`    // some action takes something away
	Applyable     bool   `json:"applyable"`      // not empty and not blocked
	Summary       Totals `json:"summary"`
	Plan
}

// Encode writes the public JSON form of a plan, indented, without a final newline. The same plan gives the same bytes.
func Encode(p Plan) ([]byte, error) {
	d := document{
		FormatVersion: FormatVersion, HasChanges: len(p.Changes) > 0, HasActions: len(p.Actions) > 0,
		HasDrift: len(p.Drift) > 0, HasViolations: Violations(p) > 0 || len(p.Blocks) > 0,
		Applyable: !p.Empty() && len(p.Blocks) == 0, Summary: Summary(p), Plan: p,
	}
	for _, a := range p.Actions {
		d.Destructive = d.Destructive || a.Kind.Destructive()
	}
	if d.Changes == nil {
		d.Changes = []Change{}
	}
	if d.Actions == nil {
		d.Actions = []Action{}
	}
	if d.Windows == nil {
		d.Windows = []Window{}
	}
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return data, nil
}

// Decode reads what Encode wrote, and plans of later versions with the same major number.
func Decode(data []byte) (Plan, error) {
	var version struct {
		FormatVersion string `json:"format_version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return Plan{}, fmt.Errorf("decode plan: %w", err)
	}
	if major, _, _ := strings.Cut(version.FormatVersion, "."); major != "1" {
		return Plan{}, fmt.Errorf("decode plan: format_version %q is not one this version of holdfast reads (1.x)", version.FormatVersion)
	}
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return Plan{}, fmt.Errorf("decode plan: %w", err)
	}
	return d.Plan, nil
}
