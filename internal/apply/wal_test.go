package apply_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

const segment = state.LSN(16 << 20)

// wal is the log of system 7 in a store, from segment 1 on.
func wal(store string, ranges ...state.Range) state.WAL {
	return state.WAL{
		Store: store, Repository: "repo" + strings.TrimPrefix(strings.TrimPrefix(store, "store.s"), "store."), System: "7", SegmentSize: int64(segment),
		Timelines: []state.Timeline{{ID: 1, Ranges: ranges}},
	}
}

func segments(from, to state.LSN) state.Range {
	return state.Range{From: from * segment, To: to * segment, Stored: int64(to - from)}
}

func expireWAL(from, to state.LSN) plan.Action {
	return plan.Action{
		ID: "expire WAL backup.a store.s 7", Kind: plan.ExpireWAL, Address: "backup.a", Store: "store.s", System: "7",
		WAL: []plan.Segments{{Timeline: 1, From: from * segment, To: to * segment, Count: int64(to - from)}},
	}
}

// booked tells which positions of timeline 1 the catalog has of a store, for each backup.
func (w *world) booked(store string) map[string][][2]uint64 {
	booked := map[string][][2]uint64{}
	for address, logs := range w.catalog().WAL {
		for _, l := range logs {
			for _, r := range l.Timelines[0].Ranges {
				if l.Store == store {
					booked[address] = append(booked[address], [2]uint64{uint64(r.From / segment), uint64(r.To / segment)})
				}
			}
		}
	}
	return booked
}

func (s *fakeStore) DeleteWAL(_ context.Context, system string, runs []plan.Segments) (int64, error) {
	for _, r := range runs {
		s.tell("delete WAL %s %d-%d%s (in catalog: %v)", system, r.From/segment, r.To/segment, s.where("backup.a"), s.booked("store.s")["backup.a"])
	}
	if s.deleteErr != nil {
		return 0, s.deleteErr
	}
	return 3, nil
}

func (s *fakeStore) CopyWAL(_ context.Context, from apply.Repository, system string, runs []plan.Segments, _ func(int64)) (apply.WALCopied, error) {
	for _, r := range runs {
		s.tell("copy WAL %s %d-%d from %s%s", system, r.From/segment, r.To/segment, from.ID(), s.where("backup.a"))
	}
	return s.walCopied, nil
}

// Segments leave the catalog of every backup that shares them before they are deleted: a crash in between promises nothing that
// nobody can restore.
func TestWALLeavesTheCatalogFirst(t *testing.T) {
	w := newWorld(t)
	w.edit(func(c *state.Catalog) {
		c.Objects = map[string]state.Object{"store.s": {Usage: &state.Usage{Bytes: 10}}}
		c.WAL = map[string][]state.WAL{
			"backup.a": {wal("store.s", segments(1, 9))}, "backup.b": {wal("store.copy", segments(1, 9)), wal("store.s", segments(1, 9))},
		}
	})
	out := w.mustRun("r1", expireWAL(1, 4))
	w.wantLog("delete WAL 7 1-4 (in catalog: [[4 9]])")
	want := map[string][][2]uint64{"backup.a": {{4, 9}}, "backup.b": {{4, 9}}}
	if diff := cmp.Diff(want, w.booked("store.s")); diff != "" {
		t.Errorf("booked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][][2]uint64{"backup.b": {{1, 9}}}, w.booked("store.copy")); diff != "" {
		t.Errorf("booked of the other store (-want +got):\n%s", diff)
	}
	if out.Run.Status != state.RunOK || out.Run.Actions[0].Stored != 3 || w.catalog().Objects["store.s"].Usage.Bytes != 7 {
		t.Errorf("run %+v, usage %+v", out.Run, w.catalog().Objects["store.s"].Usage)
	}
}

// What the store did not delete is found again by the next look, and expires again.
func TestFailedDeleteOfWALIsFoundAgain(t *testing.T) {
	w := newWorld(t)
	w.edit(func(c *state.Catalog) { c.WAL = map[string][]state.WAL{"backup.a": {wal("store.s", segments(1, 9))}} })
	w.store.deleteErr = errors.New("connection reset")
	w.look = func(c *state.Catalog) { c.WAL["backup.a"] = []state.WAL{wal("store.s", segments(2, 9))} }
	out := w.mustRun("r1", expireWAL(1, 4))
	if out.Run.Status != state.RunFailed || !strings.Contains(out.Run.Actions[0].Error, "the next look at the store finds what is left") {
		t.Errorf("run %+v", out.Run)
	}
	if diff := cmp.Diff(map[string][][2]uint64{"backup.a": {{2, 9}}}, w.booked("store.s")); diff != "" {
		t.Errorf("booked (-want +got):\n%s", diff)
	}
}

// Apply asks again before it deletes: fewer than planned, and none where none may go.
func TestWALExpiryIsAskedAgain(t *testing.T) {
	for name, tc := range map[string]struct {
		still []plan.Segments
		log   []string
		want  state.RunStatus
	}{
		"fewer": {expireWAL(1, 3).WAL, []string{"delete WAL 7 1-3 (in catalog: [[3 9]])"}, state.RunOK},
		"none":  {nil, nil, state.RunSkipped},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.edit(func(c *state.Catalog) { c.WAL = map[string][]state.WAL{"backup.a": {wal("store.s", segments(1, 9))}} })
			w.stillWAL = func(planned []plan.Action) []plan.Action {
				planned = slices.Clone(planned)
				planned[0].WAL = tc.still
				return planned
			}
			out := w.mustRun("r1", expireWAL(1, 6))
			w.wantLog(tc.log...)
			if got := out.Run.Actions[0].Status; got != tc.want {
				t.Errorf("it was %s, want %s", got, tc.want)
			}
		})
	}
}

func TestWALOfASwappedStoreStays(t *testing.T) {
	w, _ := withCopies(t)
	other := wal("store.s", segments(1, 9))
	other.Repository = "another"
	w.edit(func(c *state.Catalog) { c.WAL = map[string][]state.WAL{"backup.a": {other}} })
	copying := plan.Action{ID: "copy WAL", Kind: plan.CopyWAL, Address: "backup.a", Store: "store.copy", From: "store.s", System: "7", WAL: expireWAL(1, 2).WAL}
	out := w.mustRun("r1", expireWAL(1, 4), copying)
	w.wantLog()
	for _, ra := range out.Run.Actions {
		if ra.Status != state.RunFailed || !strings.Contains(ra.Error, "swapped for another") {
			t.Errorf("%+v", ra)
		}
	}
}

// Copies of WAL are counted, and what is there afterwards is told by the look at the end.
func TestWALIsCopiedAndLookedAt(t *testing.T) {
	w, further := withCopies(t)
	further.walCopied = apply.WALCopied{Files: 2, Stored: 20}
	w.edit(func(c *state.Catalog) {
		c.Objects = map[string]state.Object{"store.copy": {Usage: &state.Usage{Bytes: 10}}}
		c.WAL = map[string][]state.WAL{"backup.a": {wal("store.s", segments(1, 9))}}
	})
	w.look = func(c *state.Catalog) {
		c.WAL["backup.a"] = append(c.WAL["backup.a"], wal("store.copy", segments(7, 9)))
	}
	copying := plan.Action{ID: "copy WAL", Kind: plan.CopyWAL, Address: "backup.a", Store: "store.copy", From: "store.s", System: "7", WAL: expireWAL(7, 9).WAL}
	out := w.mustRun("r1", copying)
	w.wantLog("copy WAL 7 7-9 from repo in copy")
	if got := w.catalog().Objects["store.copy"].Usage.Bytes; got != 30 || out.Run.Actions[0].Status != state.RunOK {
		t.Errorf("usage %d, run %+v", got, out.Run)
	}
	if diff := cmp.Diff(map[string][][2]uint64{"backup.a": {{7, 9}}}, w.booked("store.copy")); diff != "" {
		t.Errorf("booked (-want +got):\n%s", diff)
	}
	further.walCopied = apply.WALCopied{}
	if out := w.mustRun("r2", copying); out.Run.Actions[0].Status != state.RunSkipped {
		t.Errorf("the second copy was %s", out.Run.Actions[0].Status)
	}
}

// Where a base backup stands in the log is read from what the executor said of it, and from nothing else.
func TestPointsKnowTheirBase(t *testing.T) {
	physical := map[string]string{
		executors.MetaMethod: "physical", executors.MetaSystem: "7301234567890123456", executors.MetaTimeline: "2",
		executors.MetaStart: "0/3000028", executors.MetaEnd: "0/3000100", executors.MetaCarriesWAL: "true",
	}
	with := func(key, value string) map[string]string {
		meta := map[string]string{}
		for k, v := range physical {
			meta[k] = v
		}
		meta[key] = value
		return meta
	}
	base := state.Base{System: "7301234567890123456", Timeline: 2, Start: 0x3000028, End: 0x3000100, Carries: true}
	alone := base
	alone.Carries = false
	for name, tc := range map[string]struct {
		meta map[string]string
		want *state.Base
	}{
		"physical":       {physical, &base},
		"without WAL":    {with(executors.MetaCarriesWAL, "false"), &alone},
		"another method": {with(executors.MetaMethod, "logical"), nil},
		"no method":      {with(executors.MetaMethod, ""), nil},
		"no position":    {with(executors.MetaStart, ""), nil},
		"a bad position": {with(executors.MetaEnd, "16"), nil},
		"a bad timeline": {with(executors.MetaTimeline, "x"), nil},
		"no meta":        {nil, nil},
	} {
		got := apply.PointOf("p", "store.s", "repo", apply.Found{Info: apply.PointInfo{Time: time.Unix(0, 0), Meta: tc.meta}}).Base
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
