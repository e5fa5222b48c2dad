package blob

import "context"

// Guards are what a bucket does itself against the loss of objects. Nil means that it cannot be told: the service does not
// say, or these credentials may not ask.
type Guards struct {
	Versioning *bool // a replaced or deleted object stays as an older version
	ObjectLock *bool // objects can be, or are, protected from everybody's deletion for a time
}

// Guarded is a Bucket that can be asked about its guards.
type Guarded interface {
	Guards(ctx context.Context) (Guards, error)
}

// GuardsOf asks b, or what it wraps. A bucket that is not Guarded has nothing to tell.
func GuardsOf(ctx context.Context, b Bucket) (Guards, error) {
	if g, ok := b.(Guarded); ok {
		return g.Guards(ctx)
	}
	return Guards{}, nil
}
