package corruption

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// TestEveryFaultOfTheStateIsFound: what the newest commit consists of is read whole by every load, and a load that finds
// it damaged names the object and gives no catalog. One exception: a bit of a segment's zstd frame that does not change what
// is inside, so that the catalog is the same, value by value. A newest head that is gone is not told from one that never was: the
// catalog before it is read, and drift shows the points that it does not know.
func TestEveryFaultOfTheStateIsFound(t *testing.T) {
	rng := seeded(t)
	s := &store{now: newMemory(), before: map[string][]byte{}, foreign: map[string][]byte{}}
	commit := func(n int) {
		t.Helper()
		err := backend.New(s.now, backend.Options{Holder: "somebody@somewhere"}).Update(t.Context(), func(c *state.Catalog) error {
			at := time.Unix(1_800_000_000+int64(n)*3600, 0).UTC()
			for _, address := range []string{"backup.docs", fmt.Sprint("backup.b", n)} {
				c.Points[address] = append(c.Points[address], state.RestorePoint{ID: fmt.Sprint("p", n), Time: at, Finished: at, Source: "source.files.docs", Method: "files"})
			}
			c.Runs = append(c.Runs, state.Run{ID: fmt.Sprint("r", n), Operation: "apply", Who: "somebody@somewhere", Started: at, Finished: at, Status: state.RunOK})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := range 3 {
		commit(n)
	}
	earlier := s.now.copy()
	commit(3)
	heads := s.now.names("heads/")
	head := heads[len(heads)-1]
	rounds := 5
	if os.Getenv("HOLDFAST_LONG") != "" {
		rounds = 2000
	}
	sound, err := backend.New(s.now, backend.Options{Holder: "x"}).Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]int{}
	for _, name := range s.now.names("") {
		used := name == head
		if base, ok := strings.CutPrefix(name, "segments/"); ok {
			used = strings.Contains(string(s.now.objects[head]), strings.TrimSuffix(base, ".json.zst"))
		}
		if !used {
			continue // of earlier commits, kept for people
		}
		for _, fault := range []string{"flipped", "truncated", "swapped", "replayed", "missing"} {
			if name == head && fault == "missing" {
				continue
			}
			for range rounds {
				b := s.now.copy()
				var what string
				var ok bool
				if fault == "replayed" {
					what, ok = s.exchange(rng, b, name, earlier.objects)
				} else {
					what, ok = s.strike(rng, b, name, fault)
				}
				if !ok {
					continue
				}
				tried[kindOf(name)+" "+fault]++
				c, err := backend.New(b, backend.Options{Holder: "x"}).Load(t.Context())
				if err == nil && kindOf(name) == "segments" && fault == "flipped" && cmp.Equal(sound, c) {
					continue // in the zstd frame's own header; the name holds the hash of the plain text, which is the same
				}
				if err == nil {
					t.Errorf("%s %s %s: it was loaded: %d addresses", name, fault, what, len(c.Points))
				} else if !strings.Contains(err.Error(), name) {
					t.Errorf("%s %s %s: the error names something else: %v", name, fault, what, err)
				}
			}
		}
	}
	for _, want := range []string{"heads flipped", "heads truncated", "heads swapped", "heads replayed", "segments flipped", "segments truncated", "segments swapped", "segments replayed", "segments missing"} {
		if tried[want] == 0 {
			t.Errorf("%s was never tried", want)
		}
	}
}
