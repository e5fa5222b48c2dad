// Package diag holds diagnostics: what a person wrote or must decide, said so that they can act on it.
//
// It is a leaf: it knows neither HCL nor terminals. policy/lang converts HCL's diagnostics into these, internal/cli/view
// renders them. Machine failures are ordinary errors, not diagnostics.
package diag

// Severity tells whether a diagnostic stops the command. The zero value is unknown and never rendered.
type Severity int

// The severities.
const (
	Unknown Severity = iota
	Error
	Warning
)

// String returns "error", "warning" or "unknown".
func (s Severity) String() string {
	switch s {
	case Error:
		return "error"
	case Warning:
		return "warning"
	default:
		return "unknown"
	}
}

// Pos is a place in a file: line and column count from 1 (column in characters), Byte from 0.
type Pos struct {
	Line   int `json:"line"`
	Column int `json:"column"`
	Byte   int `json:"byte"`
}

// Range is a span of one file; End is exclusive.
type Range struct {
	Filename string `json:"filename"`
	Start    Pos    `json:"start"`
	End      Pos    `json:"end"`
}

// Value tells what a name in the snippet stands for, for example {"var.days", "is 9"}. Sensitive values say only that.
type Value struct {
	Traversal string `json:"traversal"`
	Statement string `json:"statement"`
}

// Snippet is the source text around a diagnostic. Offsets are bytes into Code, end exclusive.
type Snippet struct {
	Context        string  `json:"context,omitempty"` // the block it stands in, such as `backup "app"`
	Code           string  `json:"code"`
	StartLine      int     `json:"start_line"`
	HighlightStart int     `json:"highlight_start_offset"`
	HighlightEnd   int     `json:"highlight_end_offset"`
	Values         []Value `json:"values,omitempty"`
}

// Diagnostic is one finding. Summary states the fact in one line without a period; Detail says what to do next.
type Diagnostic struct {
	Severity Severity `json:"-"` // encoded as a word by MarshalJSON
	Code     string   `json:"code,omitempty"`
	Summary  string   `json:"summary"`
	Detail   string   `json:"detail,omitempty"`
	Address  string   `json:"address,omitempty"`
	Range    *Range   `json:"range,omitempty"`
	Snippet  *Snippet `json:"snippet,omitempty"`
}

// List is any number of diagnostics in the order they were found. Functions return it beside partial results.
type List []Diagnostic

// HasErrors tells whether any diagnostic is an error.
func (l List) HasErrors() bool {
	for _, d := range l {
		if d.Severity == Error {
			return true
		}
	}
	return false
}

// NewError makes an error about address (which may be empty).
func NewError(address, summary, detail string) Diagnostic {
	return Diagnostic{Severity: Error, Address: address, Summary: summary, Detail: detail}
}

// NewWarning makes a warning about address (which may be empty).
func NewWarning(address, summary, detail string) Diagnostic {
	return Diagnostic{Severity: Warning, Address: address, Summary: summary, Detail: detail}
}
