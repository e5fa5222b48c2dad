package cli

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/planner"
)

// refreshers is how many stores and sources are looked at together.
const refreshers = 8

// observe looks at stores and sources as far as -refresh says. It never fails: what cannot be looked at says so, because
// a store that is down must not hide what the others show.
func (s *session) observe(ctx context.Context, mode string) planner.Observed {
	if mode == "none" {
		return planner.Observed{}
	}
	seen := planner.Observed{Mode: mode, Stores: map[string]planner.ObservedStore{}, Sources: map[string]planner.ObservedSource{}}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(refreshers)
	for address := range s.policy.Stores {
		if known, ok := s.catalog.Objects[address]; !ok || known.Repository == "" {
			continue // never initialized: the plan says so
		}
		g.Go(func() error {
			store := s.observeStore(gctx, address, mode)
			mu.Lock()
			defer mu.Unlock()
			seen.Stores[address] = store
			return nil
		})
	}
	for address := range s.policy.Sources {
		g.Go(func() error {
			source := s.observeSource(gctx, address)
			mu.Lock()
			defer mu.Unlock()
			seen.Sources[address] = source
			return nil
		})
	}
	_ = g.Wait() // nothing above returns an error
	s.err.Status("")
	return seen
}

func (s *session) observeSource(ctx context.Context, address string) planner.ObservedSource {
	src := s.policy.Sources[address]
	executor, ok := executorMap()[src.Kind]
	if !ok {
		return planner.ObservedSource{Err: "this version of holdfast cannot read " + string(src.Kind) + " sources"}
	}
	facts, err := executor.Inspect(ctx, src)
	if err != nil {
		return planner.ObservedSource{Err: s.redactor.String(err.Error())}
	}
	return planner.ObservedSource{Version: facts.Version, Identity: facts.Identity, Names: facts.Names}
}

func (s *session) observeStore(ctx context.Context, address, mode string) planner.ObservedStore {
	r, err := s.stores.View(ctx, address)
	if err != nil {
		return planner.ObservedStore{Err: s.redactor.String(err.Error())}
	}
	return planner.ObservedStore{Repository: r.ID()}
}
