package plan_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEveryCodeIsDocumented: codes are a public interface, and docs/plan.md is where people look them up.
func TestEveryCodeIsDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	for file, pattern := range map[string]string{"reason.go": `(?m)^\t(?:Reason|Drift)\w+ +Reason += "(\w+)"`, "plan.go": `(?m)^\t\w+ +(?:ActionKind|ChangeKind|Guard) += "([\w ]+)"`} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(source), -1) {
			codes++
			if !strings.Contains(string(docs), "`"+m[1]+"`") {
				t.Errorf("docs/plan.md does not mention `%s`", m[1])
			}
		}
	}
	if codes != 72 {
		t.Errorf("found %d codes in the source; the patterns of this test are out of date", codes)
	}
}
