package basebackup

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUndo: what was there survives a restore that fails before, while and after it is put aside.
func TestUndo(t *testing.T) {
	for _, step := range []string{"before", "begun", "done"} {
		t.Run(step, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte("15"), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := Target{Dir: dir, Replace: true}.place("", dir)
			if err != nil {
				t.Fatal(err)
			}
			if step != "before" {
				err = p.begin("token")
			}
			if step == "done" && err == nil {
				err = p.finish()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := p.undo(); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(filepath.Join(dir, "PG_VERSION")); string(text) != "15" {
				t.Errorf("what was there: %q, %v", text, err)
			}
			if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
				t.Errorf("left is %v", left)
			}
		})
	}
}
