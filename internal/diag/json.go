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

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Diagnostic) UnmarshalJSON(data []byte) error {
	type plain Diagnostic
	v := struct {
		Severity string `json:"severity"`
		*plain
	}{plain: (*plain)(d)}
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	for _, s := range []Severity{Unknown, Error, Warning} {
		if s.String() == v.Severity {
			d.Severity = s
		}
	}
	return nil
}
