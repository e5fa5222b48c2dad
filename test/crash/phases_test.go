package crash

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// copiesPolicy adds a store of copies to policyText.
const copiesPolicy = `
store "offsite" {
  url = "file://./offsite"
  encryption {
    recipients = ["%s"]
  }
}
`

func newSiteWithCopies(t *testing.T) *site {
	s := newSite(t, "")
	main, err := os.ReadFile(filepath.Join(s.dir, "main.hf.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	_, recipient, _ := strings.Cut(string(main), `recipients = ["`)
	recipient, _, _ = strings.Cut(recipient, `"`)
	text := strings.Replace(string(main), "  store     = store.primary\n", "  store     = store.primary\n  copies    = [store.offsite]\n", 1)
	s.write("main.hf.hcl", []byte(text+fmt.Sprintf(copiesPolicy, recipient)))
	s.mustRun("init")
	return s
}

// age makes condemned packs old enough to be deleted by the next prune.
func (s *site) age() {
	s.t.Helper()
	old := time.Now().Add(-48 * time.Hour)
	for _, store := range []string{"store", "offsite"} {
		marks, err := filepath.Glob(filepath.Join(s.dir, store, "condemned", "*"))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, mark := range marks {
			if err := os.Chtimes(mark, old, old); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// killIn starts an apply and kills it a while after it began an action of a kind; it tells whether it died before its end.
func (s *site) killIn(kind string, wait time.Duration) bool {
	s.t.Helper()
	c := s.command("apply", "-auto-approve", "-force=backup.data", "-json")
	out, err := c.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	begun := false
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct{ Type, Action string }
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Type == "action_start" && e.Action == kind && !begun {
			begun = true
			timer := time.AfterFunc(wait, func() { c.Process.Kill() })
			defer timer.Stop()
		}
	}
	killed := c.Wait() != nil
	if !begun {
		s.t.Errorf("the apply began no %q", kind)
	}
	return killed
}

// convergeEverywhere converges, and compares both stores with the catalog: the newest point restores from each, and
// neither holds a point that the catalog does not know.
func (s *site) convergeEverywhere() {
	s.t.Helper()
	s.converge()
	for _, store := range []string{"primary", "offsite"} {
		back := filepath.Join(s.t.TempDir(), "back")
		s.mustRun("restore", "backup.data", "-target="+back, "-auto-approve", "-from=store."+store)
		sameTree(s.t, filepath.Join(s.dir, "data"), back)
	}
	known := strings.Count(s.mustRun("points", "-json"), `"manifest":`)
	if stored := s.manifests("store") + s.manifests("offsite"); stored != known {
		s.t.Errorf("the stores hold %d manifests, the catalog knows %d copies", stored, known)
	}
}

func (s *site) manifests(store string) (n int) {
	err := filepath.WalkDir(filepath.Join(s.dir, store, "points"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".manifest") {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Error(err)
	}
	return n
}

// TestKilledInEachPhase kills apply while it backs up, verifies, copies, expires and prunes, and in the commits between.
func TestKilledInEachPhase(t *testing.T) {
	waits := []time.Duration{0, 8 * time.Millisecond}
	if os.Getenv("HOLDFAST_LONG") != "" {
		waits = nil
		for wait := time.Duration(0); wait < 80*time.Millisecond; wait += 2 * time.Millisecond {
			waits = append(waits, wait)
		}
	}
	for _, kind := range []string{"back up", "verify", "copy", "expire", "prune"} {
		t.Run(kind, func(t *testing.T) {
			s := newSiteWithCopies(t)
			seed, killed := uint64(1), 0
			for range 3 { // as many points as retention keeps, and one that leaves
				s.fill(seed, 3, 1<<20)
				seed++
				s.mustRun("apply", "-auto-approve", "-force=backup.data")
			}
			for _, wait := range waits {
				s.fill(seed, 3, 2<<20)
				seed++
				s.age()
				if s.killIn(kind, wait) {
					killed++
				}
				s.age()
				s.convergeEverywhere()
			}
			if killed == 0 {
				t.Errorf("none of %d applies was killed in time", len(waits))
			}
			t.Logf("%d of %d killed", killed, len(waits))
		})
	}
}
