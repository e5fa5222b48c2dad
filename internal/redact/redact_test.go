package redact

import (
	"bytes"
	"fmt"
	"testing"
)

func TestRedactor(t *testing.T) {
	var r Redactor
	r.Add("postgres://app:p%40ss%2Fword@db/app")
	r.Add("hunter2")
	r.Add("abc") // too short to mask
	for in, want := range map[string]string{
		"dial postgres://app:p%40ss%2Fword@db/app failed": "dial (sensitive) failed",
		"password p@ss/word refused":                      "password (sensitive) refused",
		"password p%40ss%2Fword refused":                  "password (sensitive) refused",
		"hunter2hunter2":                                  "(sensitive)(sensitive)",
		"abc":                                             "abc",
	} {
		if got := r.String(in); got != want {
			t.Errorf("String(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWriterReportsTheCallersLength(t *testing.T) {
	var r Redactor
	var out bytes.Buffer
	w := r.Writer(&out)
	fmt.Fprintln(w, "before secret-value")
	r.Add("secret-value")
	n, err := fmt.Fprintln(w, "after secret-value")
	if err != nil || n != len("after secret-value\n") {
		t.Fatalf("Write = %d, %v", n, err)
	}
	if want := "before secret-value\nafter (sensitive)\n"; out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
}

func TestWatchedSecretsAreMaskedOnceRevealed(t *testing.T) {
	var r Redactor
	var revealed []string
	r.Watch(func() []string { return revealed })
	if got := r.String("late-secret"); got != "late-secret" {
		t.Errorf("masked %q before it was known", got)
	}
	revealed = append(revealed, "late-secret")
	if got := r.String("x late-secret"); got != "x (sensitive)" {
		t.Errorf("String = %q", got)
	}
}
