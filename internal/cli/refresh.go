package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/policy"
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
	return planner.ObservedSource{Version: facts.Version, Identity: facts.Identity, Names: facts.Names, Gaps: facts.Gaps, Lacks: s.advice(ctx, executor, src)}
}

// advice asks how a source must be set up for its backups. What cannot be asked is left to the backup, which says so.
func (s *session) advice(ctx context.Context, executor executors.Executor, src policy.Source) map[string][]string {
	adviser, ok := executor.(executors.Adviser)
	if !ok {
		return nil
	}
	lacks := map[string][]string{}
	for address, b := range s.policy.Backups {
		if b.Source != src.Address {
			continue
		}
		push, err := s.walCommand("push", address)
		if err == nil {
			lacks[address], err = adviser.Advise(ctx, executors.AdviceRequest{Source: src, Backup: b, Push: push + "%p"})
		}
		if err != nil {
			s.log.Warn("ask how the source is set up", "address", address, "err", err)
		}
	}
	return lacks
}

func (s *session) observeStore(ctx context.Context, address, mode string) planner.ObservedStore {
	failed := func(err error) planner.ObservedStore {
		return planner.ObservedStore{Err: s.redactor.String(err.Error())}
	}
	r, err := s.stores.View(ctx, address)
	var wrong *repo.WrongRepositoryError
	if errors.As(err, &wrong) {
		return planner.ObservedStore{Repository: wrong.Got}
	}
	if err != nil {
		return failed(err)
	}
	survey, err := r.Survey(ctx)
	if err != nil {
		return failed(err)
	}
	config := r.Config()
	seen := planner.ObservedStore{
		Repository: r.ID(), Recipients: config.Recipients, Writers: config.Writers, Unknown: survey.Unknown,
		Bytes: survey.Bytes,
	}
	if guards, err := blob.GuardsOf(ctx, r.bucket); err == nil {
		seen.Versioning, seen.ObjectLock = guards.Versioning, guards.ObjectLock
	} else {
		s.log.Warn("ask the store for its guards", "address", address, "err", err) // rights that looking itself does not need
	}
	for _, p := range survey.Points {
		if p.Manifest {
			seen.Points = append(seen.Points, planner.ObservedPoint{Address: p.Address, ID: p.ID, Summary: p.Summary})
		}
	}
	damage := r.checked(repo.VerifyReport{Damaged: survey.Damaged}).Damage
	if mode == "deep" {
		checked, err := r.VerifyAll(ctx, s.pointsIn(address, r.ID()), func(n int64) { s.err.Status("hashing " + address + ": " + view.Bytes(n)) })
		if err != nil {
			return failed(err)
		}
		damage = onePerObject(append(checked.Damage, damage...))
	}
	for _, d := range damage {
		seen.Damage = append(seen.Damage, planner.ObservedDamage{Object: strings.TrimPrefix(d.Object, address+" "), Problem: d.Problem, Points: d.Points})
	}
	return seen
}

// onePerObject keeps what was said first of each object.
func onePerObject(damage []apply.Damage) []apply.Damage {
	seen := map[string]bool{}
	return slices.DeleteFunc(damage, func(d apply.Damage) bool {
		was := seen[d.Object]
		seen[d.Object] = true
		return was
	})
}

// pointsIn lists what the catalog knows in a repository.
func (s *session) pointsIn(store, repository string) (points []apply.PointCopy) {
	for address, list := range s.catalog.Points {
		for _, p := range list {
			if c, ok := p.In(store); ok && c.Repository == repository {
				points = append(points, apply.PointCopy{Address: p.Stored(address), Point: p.ID, Manifest: c.Manifest, Summary: c.Summary})
			}
		}
	}
	return points
}
