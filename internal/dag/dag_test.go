package dag

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func TestWalkSkipsOnlyDependants(t *testing.T) {
	boom := errors.New("boom")
	steps := []Step{{ID: "a"}, {ID: "b", After: []string{"a"}}, {ID: "c"}, {ID: "d", After: []string{"b", "c"}}, {ID: "e", After: []string{"c"}}}
	var ran []string
	done, err := Walk(t.Context(), steps, 1, func(_ context.Context, id string) error {
		ran = append(ran, id)
		if id == "a" {
			return boom
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "c", "e"}; !slices.Equal(ran, want) {
		t.Errorf("ran %v, want %v", ran, want)
	}
	var skipped *SkippedError
	if !errors.Is(done["a"], boom) || !errors.As(done["b"], &skipped) || skipped.Because != "a" || !errors.As(done["d"], &skipped) {
		t.Errorf("outcomes %v", done)
	}
	if done["c"] != nil || done["e"] != nil {
		t.Errorf("independent steps failed: %v", done)
	}
}

func TestWalkRefusesBadGraphs(t *testing.T) {
	for name, tc := range map[string]struct {
		steps []Step
		want  string
	}{
		"cycle":     {[]Step{{ID: "a", After: []string{"b"}}, {ID: "b", After: []string{"a"}}}, "cycle: a → b → a"},
		"unknown":   {[]Step{{ID: "a", After: []string{"x"}}}, `unknown step "x"`},
		"duplicate": {[]Step{{ID: "a"}, {ID: "a"}}, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Walk(t.Context(), tc.steps, 1, func(context.Context, string) error { t.Error("ran"); return nil })
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("err = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestWalkStopsStartingWhenContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	done, err := Walk(ctx, []Step{{ID: "a"}, {ID: "b"}}, 1, func(context.Context, string) error { cancel(stop); return nil })
	if err != nil || done["a"] != nil || !errors.Is(done["b"], stop) {
		t.Errorf("done %v, err %v", done, err)
	}
}

// Every step runs once, after all it comes after, and never more than limit at once.
func TestWalkProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, limit := rapid.IntRange(0, 12).Draw(t, "n"), rapid.IntRange(0, 4).Draw(t, "limit")
		steps := make([]Step, n)
		for i := range steps {
			steps[i].ID = fmt.Sprint(i)
			for j := range i {
				if rapid.Bool().Draw(t, "edge") {
					steps[i].After = append(steps[i].After, fmt.Sprint(j))
				}
			}
		}
		steps = rapid.Permutation(steps).Draw(t, "order")
		var mu sync.Mutex
		ended, running := map[string]bool{}, 0
		done, err := Walk(context.Background(), steps, limit, func(_ context.Context, id string) error {
			mu.Lock()
			defer mu.Unlock()
			running++
			if running > max(limit, 1) {
				t.Errorf("%d steps at once", running)
			}
			for _, s := range steps {
				if s.ID == id {
					for _, d := range s.After {
						if !ended[d] {
							t.Errorf("%s began before %s ended", id, d)
						}
					}
				}
			}
			ended[id] = true
			running--
			return nil
		})
		if err != nil || len(done) != n || len(ended) != n {
			t.Errorf("done %v ended %v err %v", done, ended, err)
		}
	})
}
