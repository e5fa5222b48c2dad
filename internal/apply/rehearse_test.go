package apply_test

import (
	"context"
	"testing"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// keyed is a store that this host can read.
type keyed struct{ *fakeStore }

func (keyed) CanRead() bool { return true }

func (keyed) Supply(context.Context, string, string) (executors.Supply, error) { return nil, nil }

type rehearser struct {
	executors.Executor
	asked executors.RehearseRequest
}

func (r *rehearser) Rehearse(_ context.Context, req executors.RehearseRequest, _ executors.Supply) (executors.RehearseResult, error) {
	r.asked = req
	return executors.RehearseResult{}, nil
}

// TestRehearsalKnowsTheSource: a rehearsal may take place on the source's own servers, so the executor hears which those are.
func TestRehearsalKnowsTheSource(t *testing.T) {
	executor := &rehearser{}
	v := apply.Verifier{Executors: map[policy.SourceKind]executors.Executor{policy.KindQdrant: executor}}
	src := policy.Source{Address: "source.qdrant.v", Kind: policy.KindQdrant, Qdrant: &policy.QdrantSource{}}
	proof, _, err := v.Verify(t.Context(), keyed{&fakeStore{world: &world{}}}, apply.VerifyTarget{
		Address: "backup.v", Store: "store.s", Point: state.RestorePoint{ID: "p", Copies: []state.Copy{{Store: "store.s", Repository: "repo"}}},
		Source: src, Kind: src.Kind, Level: policy.VerifyRestore,
	})
	if err != nil || !proof.OK || proof.Level != string(policy.VerifyRestore) {
		t.Errorf("got %+v, %v", proof, err)
	}
	if executor.asked.Source != src {
		t.Errorf("the executor was told of %+v", executor.asked.Source)
	}
}
