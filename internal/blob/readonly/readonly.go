// Package readonly makes a bucket that cannot be written: what a plan or a dry run is given, so that it does not merely
// promise to leave a store alone.
//
// It is not access control; whoever holds the bucket inside can still write.
package readonly

import (
	"context"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Bucket reads through and refuses Put, Create and Delete with blob.ErrReadOnly without asking the bucket inside.
type Bucket struct{ blob.Bucket }

var _ interface {
	blob.Bucket
	blob.Guarded
} = Bucket{}

// New wraps inner. Closing the result closes inner.
func New(inner blob.Bucket) Bucket { return Bucket{inner} }

// Put refuses.
func (Bucket) Put(_ context.Context, name string, _ []byte) error { return refuse("put", name) }

// Create refuses, also when the object exists.
func (Bucket) Create(_ context.Context, name string, _ []byte) error { return refuse("create", name) }

// Delete refuses, also when the object is absent.
func (Bucket) Delete(_ context.Context, name string) error { return refuse("delete", name) }

// Guards asks the bucket inside.
func (b Bucket) Guards(ctx context.Context) (blob.Guards, error) { return blob.GuardsOf(ctx, b.Bucket) }

func refuse(op, name string) error {
	return &blob.Error{Op: op, Name: name, Kind: blob.ErrReadOnly}
}
