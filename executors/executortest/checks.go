package executortest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
)

func (s *suite) inspect() {
	facts, err := s.h.Executor.Inspect(s.Context(), s.src)
	s.heard(facts, err)
	if err != nil {
		s.Fatalf("inspect: %v", err)
	}
	if facts.Size == 0 && len(facts.Names) == 0 {
		s.Errorf("inspect tells neither size nor names: %+v", facts)
	}
}

func (s *suite) roundTrip() {
	from, at := s.supply(), s.h.Target(s.T)
	res, err := s.restore(s.Context(), at, false, from)
	if err != nil {
		s.Fatalf("restore: %v", err)
	}
	for _, p := range res.Problems {
		if p.Missing {
			s.Errorf("restore reports %s missing: %v", p.Path, p.Err)
		}
	}
	if res.Items == 0 || res.Bytes == 0 {
		s.Errorf("restore counts %d items and %d bytes; both must count what was written", res.Items, res.Bytes)
	}
	s.mustEqual(at)
}

func (s *suite) refuses() {
	from, at := s.supply(), s.h.Target(s.T)
	s.h.Occupy(s.T, at)
	before := s.h.TargetImage(s.T, at)
	if _, err := s.restore(s.Context(), at, false, from); !errors.Is(err, executors.ErrTargetExists) {
		s.Errorf("restore onto an existing target: got %v, want an error that wraps ErrTargetExists", err)
	}
	s.mustStay("a refused restore", at, before)
	pre, err := s.h.Executor.Preview(s.Context(), s.request(at, false), from)
	s.heard(pre, err)
	if !errors.Is(err, executors.ErrTargetExists) {
		s.Errorf("preview of a restore that is refused: got %v, want an error that wraps ErrTargetExists", err)
	}
	s.mustStay("a refused preview", at, before)
}

func (s *suite) replaces() {
	from, at := s.supply(), s.h.Target(s.T)
	s.h.Occupy(s.T, at)
	before := s.h.TargetImage(s.T, at)
	pre, err := s.h.Executor.Preview(s.Context(), s.request(at, true), from)
	s.heard(pre, err)
	if err != nil {
		s.Fatalf("preview: %v", err)
	}
	if len(pre.Replaces) == 0 {
		s.Errorf("preview names nothing that is replaced: %+v", pre)
	}
	s.mustStay("a preview", at, before)
	if _, err := s.restore(s.Context(), at, true, from); err != nil {
		s.Fatalf("restore: %v", err)
	}
	s.mustEqual(at)
}

func (s *suite) failsAbsent() {
	from, at := s.supply(), s.h.Target(s.T)
	s.mustFail(at, false, from.Damage(from.Size()/2, errInjected))
	s.mustStay("a failed restore", at, "")
}

func (s *suite) failsOccupied() {
	from, at := s.supply(), s.h.Target(s.T)
	s.h.Occupy(s.T, at)
	before := s.h.TargetImage(s.T, at)
	s.mustFail(at, true, from.Damage(from.Size()/2, errInjected))
	s.mustStay("a failed restore", at, before)
}

func (s *suite) mustFail(at executors.Target, replace bool, from *Supply) {
	s.Helper()
	if _, err := s.restore(s.Context(), at, replace, from); !errors.Is(err, errInjected) {
		s.Errorf("restore from a damaged supply: got %v, want the supply's error", err)
	}
}

func (s *suite) cancelRestore() {
	from, at := s.supply(), s.h.Target(s.T)
	s.soon(func(ctx context.Context, cancel func()) error {
		_, err := s.restore(ctx, at, false, from.OnRead(func(e executors.Entry) {
			if e.Size > 0 {
				cancel()
			}
		}))
		return err
	})
	s.mustStay("a cancelled restore", at, "")
}

func (s *suite) cancelBackup() {
	s.soon(func(ctx context.Context, cancel func()) error {
		_, _, err := s.tryBackup(ctx, "p1", Faults{ReadInBlocks: 512, AfterRead: func(executors.Entry, int64) { cancel() }})
		return err
	})
}

func (s *suite) cancelVerify() {
	from := s.supply()
	s.soon(func(ctx context.Context, cancel func()) error {
		from.OnRead(func(executors.Entry) { cancel() })
		res, err := s.h.Executor.Verify(ctx, executors.VerifyRequest{Backup: s.backup, Log: s.log}, from)
		s.heard(res, err)
		return err
	})
}

func (s *suite) preview() {
	from, at := s.supply(), s.h.Target(s.T)
	pre, err := s.h.Executor.Preview(s.Context(), s.request(at, false), from)
	s.heard(pre, err)
	if err != nil {
		s.Fatalf("preview: %v", err)
	}
	s.mustStay("a preview", at, "")
	if pre.Target == "" || len(pre.Creates) == 0 || len(pre.Replaces) != 0 {
		s.Errorf("preview of a restore to a fresh target: %+v", pre)
	}
	res, err := s.restore(s.Context(), at, false, from)
	if err != nil {
		s.Fatalf("restore: %v", err)
	}
	type counts struct{ Items, Bytes int64 }
	if d := cmp.Diff(counts{pre.Items, pre.Bytes}, counts{res.Items, res.Bytes}); d != "" {
		s.Errorf("restore did not do what preview told (-preview +restore):\n%s", d)
	}
}

func (s *suite) verify() {
	from := s.supply()
	res, err := s.h.Executor.Verify(s.Context(), executors.VerifyRequest{Backup: s.backup, Log: s.log}, from)
	s.heard(res, err)
	if err != nil {
		s.Fatalf("verify: %v", err)
	}
	if res.Bytes != from.Size() {
		s.Errorf("verify read %d bytes of %d", res.Bytes, from.Size())
	}
}

func (s *suite) verifyDamage() {
	from := s.supply()
	size := from.Size()
	for _, at := range []int64{0, size / 2, size - 1} {
		res, err := s.h.Executor.Verify(s.Context(), executors.VerifyRequest{Backup: s.backup, Log: s.log}, from.Damage(at, errInjected))
		s.heard(res, err)
		if !errors.Is(err, errInjected) {
			s.Errorf("verify of a supply damaged at byte %d of %d: got %v, want the supply's error", at, size, err)
		}
	}
}

func (s *suite) sinkFails() {
	sink, _, err := s.tryBackup(s.Context(), "all", Faults{})
	if err != nil {
		s.Fatalf("backup: %v", err)
	}
	for _, n := range []int{1, len(sink.Items())} {
		if _, _, err := s.tryBackup(s.Context(), fmt.Sprint("p", n), Faults{FailAdd: n, Err: errInjected}); !errors.Is(err, errInjected) {
			s.Errorf("backup into a sink that fails at entry %d: got %v, want the sink's error", n, err)
		}
	}
}

func (s *suite) contentFails() {
	if _, _, err := s.tryBackup(s.Context(), "p1", Faults{FailContent: 100, Err: errInjected}); !errors.Is(err, errInjected) {
		s.Errorf("backup into a sink that cannot store content: got %v, want the sink's error", err)
	}
}

func (s *suite) backupReadsOnly() {
	before := s.h.SourceImage(s.T, s.src)
	s.supply()
	if d := cmp.Diff(before, s.h.SourceImage(s.T, s.src)); d != "" {
		s.Errorf("backup changed the source (-before +after):\n%s", d)
	}
}

func (s *suite) concurrent() {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			point := fmt.Sprint("p", i)
			sink := s.store.Sink(point, Faults{})
			res, err := s.h.Executor.Backup(s.Context(), executors.BackupRequest{Source: s.src, Backup: s.backup, Point: point, Log: s.log}, sink)
			s.store.Commit(sink, res)
			errs[i] = err
		})
	}
	wg.Wait()
	for i, err := range errs {
		s.heard(nil, err)
		if err != nil {
			s.Fatalf("backup %d: %v", i, err)
		}
		at := s.h.Target(s.T)
		if _, err := s.restore(s.Context(), at, false, s.store.Supply(fmt.Sprint("p", i))); err != nil {
			s.Fatalf("restore %d: %v", i, err)
		}
		s.mustEqual(at)
	}
}
