package executortest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// rehearser skips the test when the executor does not rehearse.
func (s *suite) rehearser() executors.Rehearser {
	s.Helper()
	r, ok := s.h.Executor.(executors.Rehearser)
	if !ok {
		s.Skip("the executor does not rehearse restores")
	}
	return r
}

func (s *suite) scratch() string {
	if s.h.Scratch != nil {
		return s.h.Scratch(s.T)
	}
	return s.TempDir()
}

func (s *suite) rehearsal(dir string, checks ...policy.Check) executors.RehearseRequest {
	return executors.RehearseRequest{Source: s.src, Backup: s.backup, Rehearsal: policy.Rehearsal{Checks: checks}, Dir: dir, Log: s.log}
}

// mustBeEmpty demands that a rehearsal left nothing in its folder.
func (s *suite) mustBeEmpty(dir string) {
	s.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range left {
		s.Errorf("a rehearsal left %s", filepath.Join(dir, e.Name()))
	}
}

func (s *suite) rehearse() {
	x, from, dir := s.rehearser(), s.supply(), s.scratch()
	holds, fails, broken := s.h.Checks(s.src)
	before := s.h.SourceImage(s.T, s.src)
	res, err := x.Rehearse(s.Context(), s.rehearsal(dir, fails, broken, holds), from)
	s.heard(res, err)
	if err != nil {
		s.Fatalf("rehearse: %v", err)
	}
	s.mustBeEmpty(dir)
	if d := cmp.Diff(before, s.h.SourceImage(s.T, s.src)); d != "" {
		s.Errorf("a rehearsal changed the source (-before +after):\n%s", d)
	}
	if res.Items == 0 || res.Bytes == 0 || res.Seconds <= 0 {
		s.Errorf("a rehearsal counts %d items, %d bytes, %v seconds; all must tell of the restore", res.Items, res.Bytes, res.Seconds)
	}
	if len(res.Checks) != 3 {
		s.Fatalf("three checks have %d results: %+v", len(res.Checks), res.Checks)
	}
	for i, c := range []policy.Check{fails, broken, holds} {
		got := res.Checks[i]
		if got.Name != c.Name || got.Text != c.Expect.Text() || got.OK != (i == 2) {
			s.Errorf("check %q, expect %q: %+v", c.Name, c.Expect.Text(), got)
		}
		if (got.Error != "") != (i == 1) || got.Value == "" && i != 1 {
			s.Errorf("check %q must have a value, or an error when it cannot be answered: %+v", c.Name, got)
		}
	}
	if res.OK() {
		s.Error("a rehearsal with failed checks is OK")
	}
	res, err = x.Rehearse(s.Context(), s.rehearsal(dir, holds), from)
	s.heard(res, err)
	if err != nil || !res.OK() {
		s.Errorf("rehearse with a check that holds: %v, %v", err, res.Failure())
	}
}

func (s *suite) rehearseDamage() {
	x, dir := s.rehearser(), s.scratch()
	size := s.supply().Size()
	for _, at := range []int64{0, size / 2, size - 1} {
		res, err := x.Rehearse(s.Context(), s.rehearsal(dir), s.store.Supply("p1").Damage(at, errInjected))
		s.heard(res, err)
		if !errors.Is(err, errInjected) || errors.Is(err, executors.ErrScratch) {
			s.Errorf("rehearsal of a supply damaged at byte %d of %d: got %v, want the supply's error and not ErrScratch", at, size, err)
		}
		s.mustBeEmpty(dir)
	}
}

func (s *suite) rehearseNowhere() {
	x, from := s.rehearser(), s.supply()
	res, err := x.Rehearse(s.Context(), s.rehearsal(filepath.Join(s.scratch(), "missing")), from)
	s.heard(res, err)
	if !errors.Is(err, executors.ErrScratch) {
		s.Errorf("rehearsal in a folder that does not exist: got %v, want an error that wraps ErrScratch", err)
	}
}

func (s *suite) cancelRehearsal() {
	x, from, dir := s.rehearser(), s.supply(), s.scratch()
	s.soon(func(ctx context.Context, cancel func()) error {
		res, err := x.Rehearse(ctx, s.rehearsal(dir), from.OnRead(func(e executors.Entry) {
			if e.Size > 0 {
				cancel()
			}
		}))
		s.heard(res, err)
		if err != nil && !errors.Is(err, context.Canceled) {
			s.Errorf("a cancelled rehearsal: got %v, want an error that wraps context.Canceled", err)
		}
		return err
	})
	s.mustBeEmpty(dir)
}

func (s *suite) rehearseTwice() {
	x, dir := s.rehearser(), s.scratch()
	s.supply()
	holds, _, _ := s.h.Checks(s.src)
	var wg sync.WaitGroup
	var errs [2]error
	for i := range errs {
		from := s.store.Supply("p1")
		wg.Go(func() {
			res, err := x.Rehearse(s.Context(), s.rehearsal(dir, holds), from)
			errs[i] = errors.Join(err, res.Failure())
		})
	}
	wg.Wait()
	for _, err := range errs {
		s.heard(nil, err)
		if err != nil {
			s.Errorf("one of two rehearsals at once: %v", err)
		}
	}
	s.mustBeEmpty(dir)
}
