package diag

import "encoding/json"

// MarshalJSON writes the severity as a word, so that the JSON form is a public interface of its own.
func (d Diagnostic) MarshalJSON() ([]byte, error) {
	type plain Diagnostic
	return json.Marshal(struct {
		Severity string `json:"severity"`
		plain
	}{d.Severity.String(), plain(d)})
}
