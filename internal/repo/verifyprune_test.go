package repo_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo"
)

// meanwhile is a bucket on which something else happens right after it listed a prefix.
type meanwhile struct {
	*memory
	prefix string
	do     func()
	once   sync.Once
}

func (m *meanwhile) List(ctx context.Context, prefix string, each func(blob.Info) error) error {
	err := m.memory.List(ctx, prefix, each)
	if prefix == m.prefix {
		m.once.Do(m.do)
	}
	return err
}

// TestVerifyBesidePrune: a prune replaces indexes and deletes condemned packs while others look. None of that is damage.
func TestVerifyBesidePrune(t *testing.T) {
	a, b := file{"a", random(1, 200_000), "1"}, file{"b", random(2, 300_000), "2"}
	for _, prefix := range []string{"index/", "packs/"} {
		for _, all := range []bool{false, true} {
			t.Run(strings.TrimSuffix(prefix, "/")+map[bool]string{true: " all"}[all], func(t *testing.T) {
				f := newFamily(t, []file{a})
				backup(t, open(t, f.primary, f.writer.id), "p2", []file{a, b})
				to, from := open(t, f.copy, f.writer.id), open(t, f.primary, f.writer.id)
				copyPoint(t, to, from, "p2") // both packs in one index
				copyPoint(t, to, from, "p1")
				prune := func() repo.PruneReport {
					report, err := open(t, f.copy, f.writer.id).Prune(t.Context(), repo.PruneOptions{})
					if err != nil {
						t.Fatal(err)
					}
					return report
				}
				if err := to.DeletePoint(t.Context(), address, "p2"); err != nil {
					t.Fatal(err)
				}
				if got := prune(); got.Condemned == 0 {
					t.Fatalf("nothing was condemned: %+v", got)
				}
				deleted := int64(0)
				bucket := &meanwhile{memory: f.copy, prefix: prefix, do: func() { deleted = prune().Deleted }}
				report, err := open(t, bucket, f.writer.id).VerifyStored(t.Context(), repo.VerifyOptions{
					Points: []repo.PointCheck{{Address: address, ID: "p1"}}, All: all,
				})
				if err != nil || len(report.Damaged) > 0 {
					t.Errorf("%+v, %v", report.Damaged, err)
				}
				if deleted == 0 {
					t.Error("the prune deleted nothing")
				}
			})
		}
	}
}
