package policy

import (
	"encoding/json"
	"errors"
)

// Condition is an expression over `self` that the policy states and somebody else evaluates later. It is known by its text
// and encodes as that.
type Condition struct {
	text string
	eval func(self map[string]any) (bool, error)
}

// NewCondition makes a condition from the expression as written and a function that computes it. Values of self are
// string, bool, int64, uint64, float64 or nil, or a list of them as []any.
func NewCondition(text string, eval func(self map[string]any) (bool, error)) Condition {
	return Condition{text: text, eval: eval}
}

// Text returns the expression as written.
func (c Condition) Text() string { return c.text }

// Holds computes the condition. The zero condition is an error: it was read from a document, not from a policy.
func (c Condition) Holds(self map[string]any) (bool, error) {
	if c.eval == nil {
		return false, errors.New("the condition cannot be computed here")
	}
	return c.eval(self)
}

// MarshalJSON encodes the text.
func (c Condition) MarshalJSON() ([]byte, error) { return json.Marshal(c.text) }

// UnmarshalJSON reads the text. The result cannot be computed.
func (c *Condition) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &c.text) }
