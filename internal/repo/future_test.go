package repo_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/internal/repo"
)

// TestLeaseFromTheFuture: the store's clock was years ahead when a host died. What it left ends like any other lease, not
// when its year has come; what is alive renews it.
func TestLeaseFromTheFuture(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	dead := open(t, killed{b}, k.id)
	backup(t, dead, "p1", []file{{"a", random(1, 1000), "1"}})
	if _, err := dead.Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range b.names("leases/") {
		b.times[name] = time.Now().AddDate(10, 0, 0)
	}
	var held *repo.LeaseHeldError
	if _, err := open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{}); !errors.As(err, &held) {
		t.Fatalf("it may be alive: %v", err)
	}
	for _, name := range b.names("leases/") { // ten minutes pass
		if strings.Contains(name, "pruner") {
			b.times[name] = b.times[name].Add(-10 * time.Minute)
		}
	}
	if _, err := open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatalf("nobody renewed it: %v", err)
	}
	for _, name := range b.names("leases/") {
		b.times[name] = b.times[name].Add(-10 * time.Minute)
	}
	if _, err := open(t, b, k.id).Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if left := b.names("leases/"); len(left) > 0 {
		t.Errorf("leases are left: %v", left)
	}
}
