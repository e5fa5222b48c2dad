package diag_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/diag"
)

func TestJSONRoundTrip(t *testing.T) {
	full := diag.Diagnostic{
		Severity: diag.Error, Code: "bad_value", Summary: "daily is out of range", Detail: "It is -1.", Address: "retention.standard",
		Range: &diag.Range{Filename: "main.hf.hcl", Start: diag.Pos{Line: 2, Column: 11, Byte: 42}, End: diag.Pos{Line: 2, Column: 19, Byte: 50}},
		Snippet: &diag.Snippet{
			Context: `retention "standard"`, Code: "  daily = var.days", StartLine: 2, HighlightStart: 10, HighlightEnd: 18,
			Values: []diag.Value{{Traversal: "var.days", Statement: "is -1"}},
		},
	}
	want := `{"severity":"error","code":"bad_value","summary":"daily is out of range","detail":"It is -1.","address":"retention.standard",` +
		`"range":{"filename":"main.hf.hcl","start":{"line":2,"column":11,"byte":42},"end":{"line":2,"column":19,"byte":50}},` +
		`"snippet":{"context":"retention \"standard\"","code":"  daily = var.days","start_line":2,"highlight_start_offset":10,"highlight_end_offset":18,` +
		`"values":[{"traversal":"var.days","statement":"is -1"}]}}`
	got, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	list := diag.List{full, diag.NewWarning("store.primary", "The store is not encrypted", ""), diag.NewError("", "No policy files", "Write one.")}
	data, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var back diag.List
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(list, back); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	for _, src := range []string{`{"severity":"fatal","summary":"x"}`, `{"summary":"x"}`, `{"severity":5}`, `[]`} {
		var d diag.Diagnostic
		if err := json.Unmarshal([]byte(src), &d); err == nil {
			t.Errorf("%s: got %+v, want an error", src, d)
		}
	}
}

func TestHasErrors(t *testing.T) {
	warning := diag.NewWarning("a", "b", "c")
	if (diag.List{warning}).HasErrors() || diag.List(nil).HasErrors() || !(diag.List{warning, diag.NewError("a", "b", "c")}).HasErrors() {
		t.Error("only errors are errors")
	}
}
