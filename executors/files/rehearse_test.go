package files

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
)

func rehearse(t *testing.T, dir string, checks []policy.Check, from executors.Supply) (executors.RehearseResult, error) {
	t.Helper()
	res, err := New().Rehearse(t.Context(), executors.RehearseRequest{Rehearsal: policy.Rehearsal{Checks: checks}, Dir: dir}, from)
	if left, lerr := os.ReadDir(dir); lerr != nil || len(left) > 0 {
		t.Errorf("the rehearsal left %v (%v)", left, lerr)
	}
	return res, err
}

func TestRehearsalCountsWhatLiesOnTheDisk(t *testing.T) {
	items := []*executortest.Item{
		dirItem("."), dirItem("conf"), fileItem("conf/a.yaml", []byte("12345")), fileItem("conf/b.yaml", []byte("678")),
		fileItem("big", make([]byte, 100_000)), linkItem(executors.TypeHardlink, "conf/c.yaml", "big"),
		linkItem(executors.TypeSymlink, "conf/d.yaml", "a.yaml"),
	}
	both := func(name, path string, count, bytes int64) policy.Check {
		return policy.Check{Name: name, Path: path, Expect: policy.NewCondition(name, func(self map[string]any) (bool, error) {
			return cmp.Equal(self, map[string]any{"count": count, "bytes": bytes}), nil
		})}
	}
	broken := policy.NewCondition("self.nothing > 1", func(map[string]any) (bool, error) { return false, errors.New("self has no nothing") })
	res, err := rehearse(t, t.TempDir(), []policy.Check{
		both("a folder stands for what is below it", "conf", 3, 100_008),
		both("links count as files, symlinks do not", "conf/*.yaml", 3, 100_008),
		both("everything", "**", 4, 200_008),
		both("from the root", "/big", 1, 100_000),
		both("nothing matches", "*.txt", 0, 0),
		both("wrong", "big", 2, 0),
		{Name: "no path", Query: "select 1", Expect: broken},
		{Name: "no such field", Path: "big", Expect: broken},
	}, executortest.NewSupply(items...))
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range res.Checks {
		if c.OK != (i < 5) {
			t.Error(c)
		}
	}
	for i, want := range map[int]string{
		5: `check "wrong" does not hold: wrong is expected, found self.count = 1, self.bytes = 100000`,
		6: `check "no path" could not be answered: a check of files needs a path`,
		7: `check "no such field" could not be answered: self.nothing > 1: self has no nothing (self.count = 1, self.bytes = 100000)`,
	} {
		if d := cmp.Diff(want, res.Checks[i].String()); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	if err := res.Failure(); err == nil || strings.Count(err.Error(), ";") != 2 {
		t.Errorf("failure: got %v, want all three checks", err)
	}
}

func TestRehearsalBlames(t *testing.T) {
	short := fileItem("f", []byte("123"))
	short.Entry.Size = 4
	for name, tc := range map[string]struct {
		items   []*executortest.Item
		options string // of a small file system; empty means an ordinary folder
		scratch bool
	}{
		"content is shorter than recorded": {items: []*executortest.Item{short}},
		"a path that leads out":            {items: []*executortest.Item{fileItem("../f", nil)}},
		"a file that is also a folder":     {items: []*executortest.Item{fileItem("f", nil), fileItem("f/g", nil)}},
		"an unknown type":                  {items: []*executortest.Item{linkItem("socket", "s", "")}},
		"it does not fit":                  {items: []*executortest.Item{fileItem("f", make([]byte, 4<<20))}, options: "size=1m", scratch: true},
		"too few files fit":                {items: []*executortest.Item{fileItem("f", nil), fileItem("g", nil), fileItem("h", nil)}, options: "nr_inodes=6", scratch: true},
		"a read-only place":                {items: []*executortest.Item{fileItem("f", nil)}, options: "ro", scratch: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			switch tc.options {
			case "":
			case "ro":
				dir = "/proc" // nobody may make a folder there
			default:
				dir = tmpfs(t, tc.options)
			}
			_, err := New().Rehearse(t.Context(), executors.RehearseRequest{Dir: dir}, executortest.NewSupply(tc.items...))
			if err == nil || errors.Is(err, executors.ErrScratch) != tc.scratch {
				t.Errorf("got %v; is the scratch place to blame: want %v", err, tc.scratch)
			}
			left, _ := filepath.Glob(filepath.Join(dir, "holdfast*"))
			if len(left) > 0 {
				t.Errorf("the rehearsal left %v", left)
			}
		})
	}
}

// TestRehearsalTellsWhatIsMissing: a name of a file that the backup could not read restores to nothing.
func TestRehearsalTellsWhatIsMissing(t *testing.T) {
	res, err := rehearse(t, t.TempDir(), nil, executortest.NewSupply(fileItem("f", nil), linkItem(executors.TypeHardlink, "g", "gone")))
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Failure(); err == nil || !strings.Contains(err.Error(), "g was not restored") {
		t.Errorf("failure: got %v, want one that names g", err)
	}
}

// TestRehearsalRemovesClosedFolders: modes come back too, and may forbid the owner to remove what is inside.
func TestRehearsalRemovesClosedFolders(t *testing.T) {
	closed := dirItem("closed")
	closed.Entry.Mode = 0o100
	if _, err := rehearse(t, t.TempDir(), nil, executortest.NewSupply(dirItem("."), closed, fileItem("closed/f", []byte("x")))); err != nil {
		t.Fatal(err)
	}
}
