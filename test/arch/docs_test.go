package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	proofName  = regexp.MustCompile("`([a-z/]+): ((?:Test|Fuzz)[A-Za-z0-9_]*)`")
	scriptName = regexp.MustCompile("`([a-z-]+\\.txtar)`")
)

// unproven returns what is wrong with a page of invariants: tests that are not there, and rows that name none.
func unproven(root, page string) []string {
	var findings []string
	for n, line := range strings.Split(page, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| | what holds") {
			continue
		}
		tests, scripts := proofName.FindAllStringSubmatch(line, -1), scriptName.FindAllStringSubmatch(line, -1)
		if len(tests)+len(scripts) == 0 {
			findings = append(findings, fmt.Sprintf("line %d names no test", n+1))
		}
		for _, t := range tests {
			if !hasTest(filepath.Join(root, t[1]), t[2]) {
				findings = append(findings, fmt.Sprintf("line %d: there is no %s in %s", n+1, t[2], t[1]))
			}
		}
		for _, s := range scripts {
			if _, err := os.Stat(filepath.Join(root, "cmd/holdfast/testdata/script", s[1])); err != nil {
				findings = append(findings, fmt.Sprintf("line %d: there is no script %s", n+1, s[1]))
			}
		}
	}
	return findings
}

func hasTest(dir, name string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go")) // a pattern that is always good
	return slices.ContainsFunc(files, func(file string) bool {
		b, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(b), "\nfunc "+name+"(")
	})
}

// TestInvariantsAreProven checks that every test in docs/invariants.md exists.
func TestInvariantsAreProven(t *testing.T) {
	page, err := os.ReadFile("../../docs/invariants.md")
	if err != nil {
		t.Fatal(err)
	}
	if rows := strings.Count(string(page), "\n| "); rows < 20 {
		t.Fatalf("only %d rows found in docs/invariants.md", rows)
	}
	for _, finding := range unproven("../..", string(page)) {
		t.Errorf("docs/invariants.md: %s", finding)
	}
}

func TestUnproven(t *testing.T) {
	page := "| | what holds | proven by |\n|---|---|---|\n| 1 | this | `test/arch: TestUnproven`, `first-use.txtar` |\n" +
		"| 2 | that | nothing |\n| 3 | more | `test/arch: TestLost`, `lost.txtar` |\n"
	want := []string{"line 4 names no test", "line 5: there is no TestLost in test/arch", "line 5: there is no script lost.txtar"}
	if diff := cmp.Diff(want, unproven("../..", page)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
