package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/internal/repo/wal"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// seenWAL is what a look at a store found of one server's log, for one backup; no log where there is none any more.
type seenWAL struct {
	address, store, system string
	log                    *state.WAL
}

// lookAtWAL looks at what the stores hold of the write-ahead logs of the declared backups. It never fails: what cannot be looked at
// is left out, so that the catalog goes on with what it knew.
func (s *session) lookAtWAL(ctx context.Context, c *state.Catalog) (seen []seenWAL) {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(refreshers)
	for address, b := range s.policy.Backups {
		if b.Physical == nil {
			continue
		}
		g.Go(func() error {
			l := &walLook{s: s, c: c, b: b, address: nameIn(c, s.policy, address)}
			found := l.all(gctx)
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, found...)
			return nil
		})
	}
	_ = g.Wait() // nothing above returns an error
	return seen
}

// nameIn is what the catalog calls a backup: until a move is applied, what it has is under the old address.
func nameIn(c *state.Catalog, set policy.Set, address string) string {
	known := func(a string) bool { return len(c.Points[a])+len(c.WAL[a]) > 0 }
	for _, m := range set.Moved {
		if !known(address) && known(m.From) && policy.Destination(set.Moved, m.From) == address {
			return m.From
		}
	}
	return address
}

// book puts what was seen into a catalog. Logs that were not looked at stay.
func book(c *state.Catalog, seen []seenWAL) {
	for _, one := range seen {
		logs := slices.DeleteFunc(slices.Clone(c.WAL[one.address]), func(l state.WAL) bool { return l.Store == one.store && l.System == one.system })
		if one.log != nil {
			logs = append(logs, *one.log)
		}
		slices.SortFunc(logs, func(a, b state.WAL) int {
			return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.System, b.System))
		})
		switch {
		case len(logs) == 0:
			delete(c.WAL, one.address)
		case c.WAL == nil:
			c.WAL = map[string][]state.WAL{one.address: logs}
		default:
			c.WAL[one.address] = logs
		}
	}
}

// takeWAL looks, and lets the session work with what it saw. Nothing is written.
func (s *session) takeWAL(ctx context.Context) {
	s.seen = s.lookAtWAL(ctx, s.catalog)
	s.catalog.WAL = maps.Clone(s.catalog.WAL)
	book(s.catalog, s.seen)
}

// bookWAL commits what was seen, when it is news. It is for an apply that has nothing else to do.
func (s *session) bookWAL(ctx context.Context) error {
	if len(s.seen) == 0 {
		return nil
	}
	stored, err := s.backend.Load(ctx)
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	news := *stored
	news.WAL = maps.Clone(stored.WAL)
	if book(&news, s.seen); reflect.DeepEqual(news.WAL, stored.WAL) || stored.Serial == 0 {
		return nil
	}
	return s.backend.Update(ctx, func(c *state.Catalog) error { book(c, s.seen); return nil })
}

// walLook looks at the logs of one backup.
type walLook struct {
	s       *session
	c       *state.Catalog
	b       policy.Backup
	address string // in the catalog
	end     executors.WALEnd
	heard   time.Time
}

func (l *walLook) all(ctx context.Context) (seen []seenWAL) {
	l.ask(ctx)
	stores := l.b.Stores()
	for _, log := range l.c.WAL[l.address] {
		stores = append(stores, log.Store)
	}
	origins, done := map[string]*storedWAL{}, map[string]bool{}
	for _, store := range stores { // the backup's own comes first
		if done[store] || l.c.Objects[store].Repository == "" {
			continue
		}
		done[store] = true
		for _, system := range l.systems() {
			found, err := l.one(ctx, store, system, origins[system])
			if err != nil {
				l.s.log.Warn("look at WAL; the catalog goes on with what it knows", "address", l.address, "store", store, "system", system, "err", err)
				continue
			}
			if found.log != nil || found.known {
				seen = append(seen, seenWAL{l.address, store, system, found.log})
			}
			if store == l.b.Store {
				origins[system] = found.storedWAL
			}
		}
	}
	return seen
}

// ask lets the source tell where its log ends, before the stores are looked at.
func (l *walLook) ask(ctx context.Context) {
	source := l.s.policy.Sources[l.b.Source]
	teller, ok := executorMap()[source.Kind].(executors.WALTeller)
	if !ok {
		return
	}
	at := l.s.Now().UTC()
	end, err := teller.WALEnd(ctx, source)
	if err != nil {
		l.s.log.Info("the source does not tell where its WAL ends", "address", source.Address, "err", l.s.redactor.String(err.Error()))
		return
	}
	l.end, l.heard = end, at
}

// systems are the servers whose logs belong to the backup: those of its base backups, of the source, and those it had.
func (l *walLook) systems() (systems []string) {
	all := []string{l.end.System, l.c.Objects[l.b.Source].Identity}
	for _, p := range l.c.Points[l.address] {
		if p.Base != nil {
			all = append(all, p.Base.System)
		}
	}
	for _, log := range l.c.WAL[l.address] {
		all = append(all, log.System)
	}
	for _, system := range all {
		if _, err := wal.ParseSystem(system); err == nil && !slices.Contains(systems, system) {
			systems = append(systems, system)
		}
	}
	return systems
}

// foundWAL is what one look found; known tells that the catalog had it.
type foundWAL struct {
	*storedWAL
	log   *state.WAL
	known bool
}

// one looks at the log of one server in one store.
func (l *walLook) one(ctx context.Context, store, system string, origin *storedWAL) (foundWAL, error) {
	r, err := l.s.stores.View(ctx, store)
	if err != nil {
		return foundWAL{}, err
	}
	w := &storedWAL{store: store, repository: r.ID(), system: system, commits: map[position]time.Time{}}
	if store != l.b.Store {
		w.origin = origin
	}
	known := false
	for i := range l.c.WAL[l.address] {
		if log := &l.c.WAL[l.address][i]; log.Store == store && log.System == system {
			if known = true; log.Repository == w.repository {
				w.before = log
			}
		}
	}
	for _, p := range l.c.Points[l.address] {
		if p.Base != nil && p.Base.System == system && !p.Incomplete {
			w.bases = append(w.bases, p)
		}
	}
	if w.files, err = r.walFiles(ctx, system); err != nil || len(w.files) == 0 {
		return foundWAL{w, nil, known}, err
	}
	if err := l.complete(ctx, r, w); err != nil {
		return foundWAL{}, err
	}
	log, err := w.log()
	return foundWAL{w, &log, known}, err
}

// complete adds what names alone do not tell: the size of segments, the histories, the newest commits, and the server's own word.
func (l *walLook) complete(ctx context.Context, r *repository, w *storedWAL) (err error) {
	if l.end.System == w.system && l.end.Timeline != 0 {
		var at state.LSN
		if err := at.UnmarshalText([]byte(l.end.LSN)); err != nil {
			return err
		}
		w.end, w.heard = position{l.end.Timeline, at}, l.heard
	}
	switch {
	case w.before != nil:
		w.size = w.before.SegmentSize
	case l.end.System == w.system:
		w.size = l.end.SegmentSize
	case w.origin != nil && w.origin.size != 0:
		w.size = w.origin.size
	default:
		w.size, err = r.WALSegmentSize(ctx, w.files)
	}
	if err == nil && w.size == 0 {
		err = errors.New("how large its segments are is not known while none is stored whole and the server does not tell")
	}
	if err != nil {
		return err
	}
	w.histories = l.histories(ctx, r, w)
	if w.origin == nil {
		l.commits(ctx, r, w)
	}
	return nil
}
