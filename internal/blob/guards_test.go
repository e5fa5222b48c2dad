package blob_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/readonly"
	"github.com/holdfast-io/holdfast/internal/blob/retry"
	"github.com/holdfast-io/holdfast/internal/blob/throttle"
)

// guarded answers with what it holds, after failing once.
type guarded struct {
	blob.Bucket
	failed *bool
	guards blob.Guards
}

func (g guarded) Guards(context.Context) (blob.Guards, error) {
	if !*g.failed {
		*g.failed = true
		return blob.Guards{}, blob.Retryable(context.DeadlineExceeded)
	}
	return g.guards, nil
}

func TestGuardsPassThroughWrappers(t *testing.T) {
	yes, no := true, false
	want := blob.Guards{Versioning: &yes, ObjectLock: &no}
	b := readonly.New(retry.New(throttle.New(guarded{failed: new(bool), guards: want}, 1)))
	got, err := blob.GuardsOf(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("guards (-want +got):\n%s", diff)
	}
	var plain struct{ blob.Bucket }
	if got, err := blob.GuardsOf(t.Context(), readonly.New(plain)); err != nil || got != (blob.Guards{}) {
		t.Errorf("a bucket without guards: %+v, %v", got, err)
	}
}
