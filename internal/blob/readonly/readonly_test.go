package readonly_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/blob/readonly"
)

func TestWritesNeverReachTheStore(t *testing.T) {
	folder, err := dir.Open(t.TempDir(), dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := folder.Put(t.Context(), "x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	rec := blobtest.NewRecorder(folder)
	b := readonly.New(rec)
	for op, err := range map[string]error{
		"put": b.Put(t.Context(), "x", nil), "create": b.Create(t.Context(), "y", nil),
		"delete": b.Delete(t.Context(), "x"), "delete of nothing": b.Delete(t.Context(), "y"),
	} {
		if !errors.Is(err, blob.ErrReadOnly) || blob.IsRetryable(err) {
			t.Errorf("%s: %v, want a final ErrReadOnly", op, err)
		}
	}
	got, err := b.Get(t.Context(), "x")
	if err != nil || string(got) != "x" {
		t.Errorf("get: %q, %v", got, err)
	}
	if diff := cmp.Diff([]string{"get x"}, rec.Strings()); diff != "" {
		t.Errorf("calls that reached the store (-want +got):\n%s", diff)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
