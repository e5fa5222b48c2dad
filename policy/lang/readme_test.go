package lang

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The policies in the README are valid and formatted, and the house rule there does what the text says.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	names := []string{"main.hf.hcl", "vectors.hf.hcl", "offsite.hf.hcl"}
	if len(blocks) != len(names) {
		t.Fatalf("got %d policies, want %v", len(blocks), names)
	}
	files := map[string]string{}
	for i, name := range names {
		text := blocks[i][1]
		if formatted, _ := Format([]byte(text), name); string(formatted) != text {
			t.Errorf("%s is not formatted:\n%s", name, formatted)
		}
		files[name] = strings.ReplaceAll(text, "age1…", recipient)
	}
	load := func() map[string]int {
		statuses := map[string]int{}
		for _, c := range mustLoad(t, writeFiles(t, files), Options{}).Set.Checks {
			statuses[c.Status]++
		}
		return statuses
	}
	if got := load(); got["fail"] != 3 || len(got) != 1 {
		t.Errorf("without copies: got %v, want 3 failed assertions", got)
	}
	for name := range files {
		files[name] = strings.ReplaceAll(files[name], "store     = store.primary\n", "store     = store.primary\n  copies = [store.offsite]\n")
	}
	if got := load(); got["pass"] != 3 || len(got) != 1 {
		t.Errorf("with copies: got %v, want 3 that pass", got)
	}
}
