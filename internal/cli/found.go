package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// foundPoint is a restore point as a store alone tells it.
type foundPoint struct {
	address string // that it is stored under
	point   state.RestorePoint
	policy  []byte // the policy it was made by
}

// findReaders is how many points are looked at together: each costs two small reads.
const findReaders = 16

// findPoints reads every whole point of a repository. What cannot be read whole is named in problems and left out.
func findPoints(ctx context.Context, r *repository) (found []foundPoint, problems []string, err error) {
	refs, err := r.Points(ctx)
	if err != nil {
		return nil, nil, err
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(findReaders)
	for _, ref := range refs {
		if !ref.Manifest {
			continue // the rest of an interrupted backup or deletion
		}
		g.Go(func() error {
			one, err := findPoint(gctx, r, ref)
			var damaged *repo.DamagedError
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.As(err, &damaged), errors.Is(err, repo.ErrNoPoint):
				problems = append(problems, fmt.Sprintf("restore point %s of %s: %v", ref.ID, ref.Address, err))
			case err != nil:
				return err
			default:
				found = append(found, one)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	slices.Sort(problems)
	slices.SortFunc(found, func(a, b foundPoint) int {
		return cmp.Or(strings.Compare(a.address, b.address), a.point.Time.Compare(b.point.Time), strings.Compare(a.point.ID, b.point.ID))
	})
	return found, problems, nil
}

func findPoint(ctx context.Context, r *repository, ref repo.PointRef) (foundPoint, error) {
	f, ok, err := r.Find(ctx, ref.Address, ref.ID)
	if err == nil && !ok {
		err = repo.ErrNoPoint // deleted since it was listed
	}
	if err != nil {
		return foundPoint{}, err
	}
	s, err := r.Summary(ctx, ref.Address, ref.ID)
	if err != nil {
		return foundPoint{}, err
	}
	return foundPoint{ref.Address, apply.PointOf(ref.ID, r.address, r.ID(), f), s.PolicyText}, nil
}

// nameNow is what the policy calls a backup that stored points under an address: moved blocks say so. Taken in under the old
// one they could never follow, for the new one has points of its own by then.
func nameNow(set policy.Set, address string) string {
	to := policy.Destination(set.Moved, address)
	_, still := set.Backups[address]
	if _, declared := set.Backups[to]; declared && !still {
		return to
	}
	return address
}

// movedPoints tells under which address the catalog has the points that are stored under another one.
func movedPoints(c *state.Catalog) map[[2]string]string {
	moved := map[[2]string]string{}
	for address, points := range c.Points {
		for i := range points {
			if p := &points[i]; p.Stored(address) != address {
				moved[[2]string{p.StoredAs, p.ID}] = address
			}
		}
	}
	return moved
}

// addFound puts a point into the catalog, or its copy into a point that is there, wherever that is: listed twice, the end of
// one would take the other's data. It tells which of the two it did.
func addFound(c *state.Catalog, address string, f foundPoint, moved map[[2]string]string) (points, copies int) {
	if c.Points == nil {
		c.Points = map[string][]state.RestorePoint{}
	}
	if now, ok := moved[[2]string{f.address, f.point.ID}]; ok {
		address = now
	} else if slices.ContainsFunc(c.Points[f.address], func(p state.RestorePoint) bool { return p.ID == f.point.ID && p.StoredAs == "" }) {
		address = f.address
	}
	points0 := slices.Clone(c.Points[address])
	i := slices.IndexFunc(points0, func(p state.RestorePoint) bool { return p.ID == f.point.ID })
	if i < 0 {
		p := f.point
		if address != f.address {
			p.StoredAs = f.address
		}
		points0 = append(points0, p)
		slices.SortFunc(points0, func(x, y state.RestorePoint) int {
			return cmp.Or(x.Time.Compare(y.Time), strings.Compare(x.ID, y.ID))
		})
		c.Points[address] = points0
		return 1, 0
	}
	copied := f.point.Copies[0]
	if slices.ContainsFunc(points0[i].Copies, func(c state.Copy) bool { return c.Store == copied.Store }) {
		return 0, 0
	}
	points0[i].Copies = append(slices.Clone(points0[i].Copies), copied)
	c.Points[address] = points0
	return 0, 1
}
