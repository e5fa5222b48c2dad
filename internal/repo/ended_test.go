package repo_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo"
)

// killed is a bucket in which leases stay, as after a kill.
type killed struct{ *memory }

func (k killed) Delete(ctx context.Context, name string) error {
	if strings.HasPrefix(name, "leases/") {
		return nil
	}
	return k.memory.Delete(ctx, name)
}

// TestLeasesOfEndedProcesses: what a killed process of this machine left is taken over at once; what may be alive is not.
func TestLeasesOfEndedProcesses(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	openAs := func(in blob.Bucket, process, gone string) *repo.Repository {
		r, err := repo.Open(t.Context(), in, repo.OpenOptions{
			Identities: []age.Identity{k.id}, Process: process, Gone: func(p string) bool { return p == gone },
		})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	dead := openAs(killed{b}, "boot/1", "")
	backup(t, dead, "p1", []file{{"a", random(1, 1000), "1"}})
	if _, err := dead.Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := len(b.names("leases/")); n != 2 {
		t.Fatalf("%d leases are left, want a writer's and a pruner's", n)
	}
	var held *repo.LeaseHeldError
	if _, err := openAs(b, "boot/2", "boot/9").Prune(t.Context(), repo.PruneOptions{}); !errors.As(err, &held) {
		t.Fatalf("beside a pruner that may be alive: %v", err)
	}
	if _, err := openAs(b, "boot/2", "boot/1").Prune(t.Context(), repo.PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	if left := b.names("leases/"); len(left) > 0 {
		t.Errorf("leases are left: %v", left)
	}
	wantRestored(t, openAs(b, "", ""), "p1", []file{{path: "a", data: random(1, 1000)}})
}
