package repo

import (
	"context"
	"errors"
	"time"
)

// Survey is what names and sizes tell of a repository, and, with a key that opens the repository key, its indexes and
// summaries. Content is not read.
type Survey struct {
	Points         []PointRef
	Damaged        []Damage // ordered by object
	Unknown        []string // objects that belong to nothing
	Bytes, Objects int64    // everything in the store
	// Judged tells whether indexes and summaries could be opened: without that only lost key objects and strangers show.
	Judged    bool
	Unneeded  int64         // bytes of packs that no point needs, condemned ones included; 0 when a summary cannot be read
	Condemned int64         // bytes of condemned packs
	Since     time.Duration // how long the first of them is condemned, by the store's clock; 0 when none is
}

// Survey looks at everything in the store. It writes nothing and may run beside writers and a pruner: what comes or goes
// meanwhile is no damage. Damage is no error; failures to reach the store are.
func (r *Repository) Survey(ctx context.Context) (Survey, error) {
	in, err := r.inspect(ctx)
	if err != nil {
		return Survey{}, err
	}
	out := Survey{
		Points: in.refs, Unknown: in.unknown, Bytes: in.bytes, Objects: in.objects, Judged: r.CanWrite(),
		Unneeded: in.unneeded.bytes, Condemned: in.condemned.bytes,
	}
	if !in.since.IsZero() {
		out.Since = max(in.newest.Sub(in.since), time.Nanosecond)
	}
	for _, f := range in.sorted() {
		if f.Severity == SeverityError {
			out.Damaged = append(out.Damaged, Damage{Object: f.Object, Problem: f.Problem, Points: f.Points})
		}
	}
	return out, nil
}

// inspect looks until the store held still: a pruner replaces indexes, and what it took away after it was listed says nothing.
func (r *Repository) inspect(ctx context.Context) (*inspection, error) {
	for try := 1; ; try++ {
		in := newInspection(r)
		err := in.run(ctx)
		if errors.Is(err, errMoved) && try < 5 {
			continue
		}
		return in, err
	}
}

var errMoved = errors.New("the store's indexes changed again and again while they were read; try again when no prune is running")
