package backend_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// history commits n serials, each an edit of one of three backups, hours apart.
func history(t *testing.T, b *backend.Backend, pass func(time.Duration), n int, apart time.Duration) {
	t.Helper()
	for i := range n {
		update(t, b, func(c *state.Catalog) error { add(c, fmt.Sprintf("backup.b%d", i%3), point(1000+i)); return nil })
		pass(apart)
	}
}

func trim(t *testing.T, b *backend.Backend) {
	t.Helper()
	l, err := b.Lease(t.Context(), state.LeaseInfo{Operation: "apply"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTrimKeepsTheNewestAndTheYoung(t *testing.T) {
	for name, test := range map[string]struct {
		apart time.Duration
		want  int
	}{
		"old ones beyond twenty go": {2 * time.Hour, 20},
		"young ones stay":           {time.Minute, 50},
		"clock stands still":        {0, 50},
		"a day's worth stays":       {time.Hour, 24},
	} {
		t.Run(name, func(t *testing.T) {
			bucket, c, b := world(t)
			history(t, b, c.Shift, 50, test.apart)
			want := load(t, b)
			trim(t, b)
			heads := bucket.names("heads/")
			if len(heads) != test.want || heads[len(heads)-1] != fmt.Sprintf("heads/%020d.json", 50) {
				t.Errorf("%d heads up to %s, want %d", len(heads), heads[len(heads)-1], test.want)
			}
			if diff := cmp.Diff(want, load(t, b)); diff != "" {
				t.Errorf("catalog (-before +after trimming):\n%s", diff)
			}
			// Every head that is kept can still be gone back to.
			for i := len(heads) - 1; i > 0; i-- {
				delete(bucket.objects, heads[i])
				load(t, b)
			}
			if n := len(bucket.names("segments/")); n > 3+test.want {
				t.Errorf("%d segments for %d heads", n, test.want)
			}
		})
	}
}

func TestTrimRemovesWhatCrashesLeftAndNothingUnderWay(t *testing.T) {
	bucket, c, b := world(t)
	history(t, b, c.Shift, 5, time.Hour)
	bucket.cutAfter(1) // the segment is written, the head is not
	if err := b.Update(t.Context(), func(c *state.Catalog) error { add(c, "backup.b0", point(1)); return nil }); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	bucket.setHook(nil)
	orphan := ""
	for _, name := range bucket.names("segments/") {
		if strings.HasPrefix(name, fmt.Sprintf("segments/%020d", 6)) {
			orphan = name
		}
	}
	trim(t, b)
	if !slices.Contains(bucket.names("segments/"), orphan) || orphan == "" {
		t.Fatalf("%q is gone: it could belong to a commit under way", orphan)
	}
	history(t, b, c.Shift, 45, 2*time.Hour)
	trim(t, b)
	if slices.Contains(bucket.names("segments/"), orphan) {
		t.Errorf("%s is still there", orphan)
	}
}

// TestCommitThatSleptPastTrimmingIsStale holds a commit between its look at the heads and the creation of its own, until
// the serial has been committed by others and trimmed away, so that the creation succeeds.
func TestCommitThatSleptPastTrimmingIsStale(t *testing.T) {
	for name, others := range map[string]int{"gap below the series": 60, "next to the series": 21} {
		t.Run(name, func(t *testing.T) {
			bucket, c, b := world(t)
			history(t, b, c.Shift, 5, time.Hour)
			slept := false
			bucket.setHook(func(op, name string) error {
				if op == "create" && strings.HasPrefix(name, "heads/") && !slept {
					slept = true
					two := open(bucket, c, "bob@two")
					history(t, two, c.Shift, others, 2*time.Hour)
					c.Shift(48 * time.Hour)
					trim(t, two)
				}
				return nil
			})
			tries := 0
			update(t, b, func(c *state.Catalog) error { tries++; add(c, "backup.late", point(7)); return nil })
			bucket.setHook(nil)
			if !slices.Contains(bucket.names("heads/"), fmt.Sprintf("heads/%020d.json", 6)) {
				t.Fatal("the late creation did not happen: the test proves nothing")
			}
			got := load(t, b)
			if tries != 2 || len(got.Points["backup.late"]) != 1 || got.Serial != uint64(5+others+1) {
				t.Errorf("%d tries, serial %d, %d late points", tries, got.Serial, len(got.Points["backup.late"]))
			}
			// The head that does not count must not mislead the next trimming.
			trim(t, b)
			if diff := cmp.Diff(got, load(t, b)); diff != "" {
				t.Errorf("catalog (-before +after trimming):\n%s", diff)
			}
			if slices.Contains(bucket.names("heads/"), fmt.Sprintf("heads/%020d.json", 6)) {
				t.Error("the head that does not count is still there")
			}
		})
	}
}

// TestReaderOvertakenByTrimming removes what a load is about to read.
func TestReaderOvertakenByTrimming(t *testing.T) {
	bucket, c, b := world(t)
	history(t, b, c.Shift, 5, time.Hour)
	overtaken := false
	bucket.setHook(func(op, name string) error {
		if op == "get" && strings.HasPrefix(name, "segments/") && !overtaken {
			overtaken = true
			two := open(bucket, c, "bob@two")
			history(t, two, c.Shift, 60, 2*time.Hour)
			c.Shift(48 * time.Hour)
			trim(t, two)
		}
		return nil
	})
	if got := load(t, open(bucket, c, "reader")); got.Serial != 65 {
		t.Errorf("serial %d, want 65", got.Serial)
	}
}

func TestPowerCutWhileTrimming(t *testing.T) {
	for n := 0; n < 80; n += 7 {
		bucket, c, b := world(t)
		history(t, b, c.Shift, 50, 2*time.Hour)
		want := load(t, b)
		l := lease(t, b, "run-1")
		bucket.cutAfter(n)
		_ = l.Release(t.Context()) // the power is out
		bucket.setHook(nil)
		if diff := cmp.Diff(want, load(t, b)); diff != "" {
			t.Fatalf("cut after %d writes (-before +after):\n%s", n, diff)
		}
		c.Shift(48 * time.Hour)
		trim(t, b)
		if got := len(bucket.names("heads/")); got != 20 {
			t.Errorf("%d heads after trimming again, want 20", got)
		}
	}
}
