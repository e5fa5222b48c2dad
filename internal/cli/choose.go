package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/state"
)

// choose returns the restore point that was asked for; latest is the newest complete one with a copy not known to be damaged.
func (s *session) choose(address, id string) (state.RestorePoint, error) {
	points := s.catalog.Points[address]
	if id != "latest" {
		i := slices.IndexFunc(points, func(p state.RestorePoint) bool { return p.ID == id })
		if i < 0 {
			return state.RestorePoint{}, usageError("%s has no restore point %s; `holdfast points %s` lists them", address, id, address)
		}
		return points[i], nil
	}
	for _, p := range slices.Backward(points) {
		_, sound := p.Sound()
		switch {
		case p.Incomplete:
			s.err.Warning(fmt.Sprintf("restore point %s is incomplete; taking an older one (name it with -point to take it anyway)", p.ID))
		case !sound:
			s.err.Warning(fmt.Sprintf("restore point %s is known to be damaged; taking an older one (name it with -point to take it anyway)", p.ID))
		default:
			return p, nil
		}
	}
	return state.RestorePoint{}, fmt.Errorf("%s has no restore point that is complete and not damaged; -point=ID tries one all the same (`holdfast points` lists them)", address)
}

// readOrder is the order in which the copies of a point are tried: proven ones, then those nobody looked at, then those
// known to be damaged; among equals a folder of this machine before a bucket, then as the policy lists the stores.
func (s *session) readOrder(address string, p state.RestorePoint) []state.Copy {
	listed := s.policy.Backups[address].Stores()
	rank := func(c state.Copy) (evidence, distance, position int) {
		switch {
		case c.Damaged():
			evidence = 2
		case !c.Verified():
			evidence = 1
		}
		if !strings.HasPrefix(s.policy.Stores[c.Store].URL, "file:") {
			distance = 1
		}
		if position = slices.Index(listed, c.Store); position < 0 {
			position = len(listed)
		}
		return evidence, distance, position
	}
	copies := slices.Clone(p.Copies)
	slices.SortStableFunc(copies, func(a, b state.Copy) int {
		ae, ad, ap := rank(a)
		be, bd, bp := rank(b)
		return cmp.Or(cmp.Compare(ae, be), cmp.Compare(ad, bd), cmp.Compare(ap, bp))
	})
	return copies
}

// evidence says what is known of a copy: its furthest proof and how old it is.
func (s *session) evidence(c state.Copy) string {
	best, ok := furthest(c)
	switch {
	case c.Broken():
		return s.out.Red("damaged when it was last read back")
	case c.Damaged():
		return s.out.Red("it failed the last rehearsal of a restore")
	case !ok:
		return s.out.Yellow("never read back")
	default:
		return s.out.Green(fmt.Sprintf("%s, %s ago", best.Level, view.Duration(s.Now().Sub(best.At))))
	}
}

// source opens the copy of a point that a restore reads from. Without a wish, a copy that cannot be opened, or whose
// manifest is damaged, gives way to the next with a warning, and so does one that fails while it is read.
func (s *session) source(ctx context.Context, address string, p state.RestorePoint, wish string) (*fallback, error) {
	copies := s.readOrder(address, p)
	if wish != "" {
		c, ok := p.In(wish)
		if !ok {
			return nil, usageError("restore point %s has no copy in %s; it is in %s", p.ID, wish, storesOf(copies))
		}
		copies = []state.Copy{c}
	}
	f := &fallback{
		copies: copies, warn: s.err.Warning,
		open: func(ctx context.Context, c state.Copy) (executors.Supply, error) {
			return s.openCopy(ctx, address, p, c)
		},
	}
	if err := f.first(ctx); err != nil {
		return nil, fmt.Errorf("restore %s: %w", address, err)
	}
	return f, nil
}

func storesOf(copies []state.Copy) string {
	names := make([]string, len(copies))
	for i, c := range copies {
		names[i] = c.Store
	}
	return strings.Join(names, ", ")
}

// unreadable says which key is missing, and where to give it.
func unreadable(r *repository) error {
	return fmt.Errorf("%s: %w; give it with -identity=FILE or HOLDFAST_IDENTITY_FILE", r.address, &repo.KeyError{Need: "read", Recipients: r.Config().Recipients})
}

// openCopy opens one copy of a point for reading.
func (s *session) openCopy(ctx context.Context, address string, p state.RestorePoint, c state.Copy) (executors.Supply, error) {
	r, err := s.stores.View(ctx, c.Store)
	if err != nil {
		return nil, err
	}
	if r.ID() != c.Repository {
		return nil, fmt.Errorf("%s holds repository %s, the restore point was stored in %s: the store was swapped for another", c.Store, r.ID(), c.Repository)
	}
	if !r.CanRead() {
		return nil, unreadable(r)
	}
	supply, err := r.Supply(ctx, p.Stored(address), p.ID)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Store, err)
	}
	return supply, nil
}
