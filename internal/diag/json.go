package diag

import (
	"encoding/json"
	"fmt"
)

// MarshalJSON writes the severity as a word, so that the JSON form is a public interface of its own.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	type plain Diagnostic
	return json.Marshal(struct {
		Severity string `json:"severity"`
		plain
	}{d.Severity.String(), plain(d)})
}

// UnmarshalJSON reads what MarshalJSON writes. A severity it does not know is an error.
func (d *Diagnostic) UnmarshalJSON(data []byte) error {
	type plain Diagnostic
	var in struct {
		Severity string `json:"severity"`
		plain
	}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*d = Diagnostic(in.plain)
	for _, s := range []Severity{Unknown, Error, Warning} {
		if s.String() == in.Severity {
			d.Severity = s
			return nil
		}
	}
	return fmt.Errorf("read diagnostic: unknown severity %q", in.Severity)
}
