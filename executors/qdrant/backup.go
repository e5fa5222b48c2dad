package qdrant

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// Backup implements executors.Executor. The data stands for the start of the call or a little later: shards are read one
// after the other, each as it is when its turn comes.
func (x *Executor) Backup(ctx context.Context, req executors.BackupRequest, sink executors.Sink) (executors.Result, error) {
	c, err := x.openSource(ctx, req.Source, toRead)
	if err != nil {
		return executors.Result{}, err
	}
	defer c.close()
	b := &backup{
		x: x, ctx: ctx, c: c, req: req, log: logger(req.Log), started: time.Now().UTC(),
		turns: semaphore.NewWeighted(x.margins.parallel), dial: newDialer(c),
	}
	defer b.dial.close()
	if err := b.run(sink); err != nil {
		return executors.Result{}, c.hide(fmt.Errorf("back up %s: %w", c.address(), err))
	}
	for i := range b.problems {
		b.problems[i].Err = c.hide(b.problems[i].Err)
	}
	return executors.Result{
		Items: b.items, Bytes: b.bytes, Version: c.newest.text, Problems: b.problems,
		Meta: map[string]string{"address": c.address(), "collections": fmt.Sprint(len(b.tasks))},
	}, nil
}

// hide takes secrets out of an error's text. The error stays what it is for errors.Is.
func (c *cluster) hide(err error) error {
	if err == nil || len(c.secrets) == 0 || !slices.ContainsFunc(c.secrets, func(s string) bool { return strings.Contains(err.Error(), s) }) {
		return err
	}
	return &hidden{err, c.secrets}
}

type hidden struct {
	error
	secrets []string
}

// Error replaces every secret.
func (h *hidden) Error() string {
	text := h.error.Error()
	for _, s := range h.secrets {
		text = strings.ReplaceAll(text, s, "(sensitive)")
	}
	return text
}

// Unwrap keeps the error recognisable.
func (h *hidden) Unwrap() error { return h.error }

// backup is one run of Backup.
type backup struct {
	x       *Executor
	ctx     context.Context
	c       *cluster
	req     executors.BackupRequest
	log     *slog.Logger
	started time.Time
	turns   *semaphore.Weighted // shards being read
	dial    *dialer
	aliases []alias
	tasks   []*task

	unchecked sync.Once // told that the server gives no checksums

	mu       sync.Mutex
	items    int64
	bytes    int64
	problems []executors.Problem
}

// task is one collection that is backed up.
type task struct {
	b      *backup
	name   string
	info   *info
	config config
	layout *layout
	record collectionRecord

	before   sync.Once
	versions map[string]uint64 // of watched points, before
	replaced sync.Once         // told that it is not the collection it was
	// pointBytes is the largest sample's size, as JSON.
	pointBytes int64
	mu         sync.Mutex
	open       int // archives that are not read to their end yet
	broken     error
}

func (b *backup) run(sink executors.Sink) error {
	if err := b.look(); err != nil {
		return err
	}
	for _, t := range b.tasks {
		if err := t.add(sink); err != nil {
			return err
		}
	}
	if err := sink.Flush(b.ctx); err != nil {
		return err
	}
	// Documents come last: they tell what was really read.
	record := pointRecord{
		Format: documentFormat, FormatVersion: formatVersion, Method: b.req.Backup.Method(), Version: b.c.newest.text, Commit: b.c.commit,
		Collections: []string{},
	}
	for _, id := range sortedKeys(b.c.peers) {
		if record.Peers == nil {
			record.Peers = map[string]string{}
		}
		record.Peers[fmt.Sprint(id)] = b.c.peers[id]
	}
	for _, t := range b.tasks {
		slices.Sort(t.record.Missing)
		n, err := addDocument(b.ctx, sink, dirOf(t.name)+collectionDoc, b.started, &t.record)
		if err != nil {
			return err
		}
		record.Collections = append(record.Collections, t.name)
		b.count(n)
	}
	if err := b.lookAgain(); err != nil {
		return err
	}
	for _, a := range b.aliases {
		if slices.Contains(record.Collections, a.Collection) {
			record.Aliases = append(record.Aliases, a)
		}
	}
	n, err := addDocument(b.ctx, sink, pointPath, b.started, record)
	if err != nil {
		return err
	}
	b.count(n)
	return sink.Flush(b.ctx)
}

func (b *backup) count(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items++
	b.bytes += bytes
}

// problem notes what is missing or doubtful. Readers call it from their own goroutines.
func (b *backup) problem(path string, missing bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, executors.Problem{Path: path, Missing: missing, Err: err})
}

// look finds out what there is to back up, and refuses what cannot be backed up as asked before anything is read.
func (b *backup) look() error {
	if err := b.gate(); err != nil {
		return err
	}
	var err error
	if b.aliases, err = b.c.aliases(b.ctx); err != nil {
		return err
	}
	names, err := b.c.collectionNames(b.ctx)
	if err != nil {
		return err
	}
	for _, gap := range b.c.gaps() {
		b.problem("server", false, errors.New(gap))
	}
	src, matched := b.req.Source.Qdrant, false
	for _, name := range names {
		if isOurs(name) {
			if slices.ContainsFunc(b.aliases, func(a alias) bool { return a.Collection == name }) {
				b.problem(dirOf(name), false, errors.New("an alias points to it, and its name is one of holdfast's own, which no backup takes in: restore it under a name of yours"))
			}
			continue
		}
		if !src.Covers(name) {
			continue
		}
		matched = true
		t := &task{b: b, name: name, record: collectionRecord{Format: documentFormat, FormatVersion: formatVersion, Name: name}}
		if err := t.look(); isGone(err) {
			b.problem(dirOf(name), slices.Contains(src.Collections, name), errors.New("the collection was deleted before it was read"))
			continue
		} else if b.ctx.Err() != nil {
			return context.Cause(b.ctx)
		} else if err != nil {
			// A cluster tells nothing of a collection of which a shard is away; the other collections are saved all the same.
			b.problem(dirOf(name), true, fmt.Errorf("nothing can be learnt of the collection: %w", err))
			continue
		}
		b.tasks = append(b.tasks, t)
	}
	for _, pattern := range src.Collections {
		if !strings.ContainsAny(pattern, `*?[\`) && !slices.Contains(names, pattern) {
			if a := aliasOf(b.aliases, pattern); a != "" {
				return fmt.Errorf("%q is an alias of %q, no collection: name the collection (or a glob) in collections; aliases are recorded with it", pattern, a)
			}
			b.problem(dirOf(pattern), true, fmt.Errorf("there is no collection %q", pattern))
		}
	}
	if !matched && len(src.Collections) > 0 {
		return fmt.Errorf("collections = [%s] matches none of the server's collections: %s", strings.Join(src.Collections, ", "), executors.ListSome(names, 10))
	}
	return nil
}

// gate refuses versions, and warns of those with faults that are known.
func (b *backup) gate() error {
	v := b.c.version
	stream := b.req.Backup.Snapshot != nil && b.req.Backup.Snapshot.Mode == policy.SnapshotStream
	switch {
	case v.less(oldest):
		return fmt.Errorf("this server is Qdrant %s; holdfast reads %d.%d and newer: upgrade it, one minor version at a time", v.text, oldest.major, oldest.minor)
	case stream && v.less(streams):
		return fmt.Errorf("this server is Qdrant %s; mode = \"stream\" needs %d.%d: use mode = \"auto\"", v.text, streams.major, streams.minor)
	case stream && v.less(patient):
		b.problem("server", false, fmt.Errorf("this server is Qdrant %s: before %d.%d.%d a reader that hangs holds a streamed shard for ever; mode = \"auto\" does not stream from it", v.text, patient.major, patient.minor, patient.patch))
	}
	if b.req.Backup.Snapshot != nil && v.less(sound) {
		b.problem("server", false, fmt.Errorf("this server is Qdrant %s: before %d.%d a snapshot taken while points are written may be damaged; upgrade, and rehearse restores (verify { after = \"restore\" })", v.text, sound.major, sound.minor))
	}
	return nil
}

// lookAgain finds aliases that were changed meanwhile; the later state is kept.
func (b *backup) lookAgain() error {
	now, err := b.c.aliases(b.ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(now, b.aliases) {
		b.aliases = now
		b.problem(pointPath, false, errors.New("aliases were changed while the collections were read; those of the end are recorded"))
	}
	return nil
}

// look reads a collection's facts.
func (t *task) look() error {
	var err error
	if t.info, err = t.b.c.info(t.b.ctx, t.name); err != nil {
		return err
	}
	if t.config, err = t.info.parsed(); err != nil {
		return err
	}
	if t.layout, err = t.b.c.layout(t.b.ctx, t.name); err != nil {
		return err
	}
	t.record.Config, t.record.PayloadSchema, t.record.Cluster = t.info.Config, t.info.PayloadSchema, t.layout.raw
	doubt := func(format string, args ...any) { t.b.problem(dirOf(t.name), false, fmt.Errorf(format, args...)) }
	if err := t.info.optimizer(); err != nil && t.info.Status != "red" {
		doubt("the optimizer complains: %w", err)
	}
	if t.info.UpdateQueue.Deferred > 0 {
		doubt("%d points are deferred by the optimizer and not counted", t.info.UpdateQueue.Deferred)
	}
	if len(t.layout.Transfers) > 0 {
		doubt("%d shards are being transferred between nodes; active replicas are read", len(t.layout.Transfers))
	}
	switch {
	case t.info.Status == "red":
		t.miss(fmt.Errorf("the collection is red (%w); what it still gives is kept", cmp.Or(t.info.optimizer(), errors.New("the server does not say why"))))
	case len(t.layout.Resharding) > 0:
		t.miss(errors.New("it is being resharded, and points move between shards meanwhile; back it up again when that is done"))
	}
	return nil
}

// miss notes that something of the collection is not in the restore point, or cannot be trusted.
func (t *task) miss(err error) {
	t.mu.Lock()
	t.record.Missing = append(t.record.Missing, t.b.c.hide(err).Error())
	t.mu.Unlock()
	t.b.problem(dirOf(t.name), true, err)
}

// first runs before a collection's first byte is read: what is counted and sampled then is compared with the end.
func (t *task) first() {
	t.before.Do(func() {
		ctx := t.b.ctx
		n, err := t.b.c.count(ctx, t.name, nil, t.filter())
		if err == nil {
			t.record.Before = n
			t.record.Samples, err = t.b.x.takeSamples(ctx, t.b.c, t.name, t.filter(), t.fields(), t.config.pageSize(0))
		}
		if err == nil {
			for _, s := range t.record.Samples {
				t.pointBytes = max(t.pointBytes, int64(s.bytes))
			}
			t.versions, err = t.b.x.watch(ctx, t.b.c, t.name, &t.config, t.record.Samples)
		}
		if err != nil {
			t.fail(err)
		}
	})
}

// fields are what of a point the backup keeps.
func (t *task) fields() fields {
	if e := t.b.req.Backup.Export; e != nil {
		return fields{payload: e.IncludePayload, vectors: e.IncludeVectors, loose: true}
	}
	return fields{payload: true, vectors: true}
}

func (t *task) filter() []byte {
	if e := t.b.req.Backup.Export; e != nil && e.Filter != "" {
		return []byte(e.Filter)
	}
	return nil
}

// fail notes that counting or sampling failed: the archives stay, but nothing can be compared with them.
func (t *task) fail(err error) {
	if t.b.ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	known := t.broken != nil
	t.broken = cmp.Or(t.broken, err)
	t.mu.Unlock()
	if known {
		return
	}
	if isGone(err) {
		t.miss(errors.New("the collection was deleted or renamed while it was read"))
		return
	}
	t.miss(fmt.Errorf("count and sample its points: %w", err))
}

// done runs when one more archive was read, or given up; the last one counts again.
func (t *task) done() {
	t.mu.Lock()
	t.open--
	last, broken := t.open == 0, t.broken
	t.mu.Unlock()
	if !last || broken != nil || t.b.ctx.Err() != nil {
		return
	}
	ctx := t.b.ctx
	n, err := t.b.c.count(ctx, t.name, nil, t.filter())
	if err == nil {
		t.record.After = n
		t.record.Samples, err = t.b.x.confirmSamples(ctx, t.b.c, t.name, t.record.Samples, t.fields())
	}
	if err == nil {
		err = t.compareVersions(ctx)
	}
	if err == nil {
		err = t.sameConfig(ctx)
	}
	if err == nil {
		err = t.sameName(ctx)
	}
	if err == nil {
		err = t.sameShards(ctx)
	}
	if err != nil {
		t.fail(err)
	}
}

// compareVersions tells how much of the collection was written while it was read, and which samples: a point that was taken
// out and put in again, equal to before, may be absent from what was read.
func (t *task) compareVersions(ctx context.Context) error {
	if len(t.versions) == 0 {
		return nil
	}
	now, err := t.sameAsBefore(ctx)
	if err != nil {
		return err
	}
	t.record.Watched = len(t.versions)
	touched := func(id string) bool {
		is, ok := now[id]
		return !ok || is != t.versions[id]
	}
	for id := range t.versions {
		if touched(id) {
			t.record.Touched++
		}
	}
	for i, s := range t.record.Samples {
		_, watched := t.versions[string(s.ID)]
		t.record.Samples[i].Touched = watched && touched(string(s.ID))
	}
	return nil
}

// sameAsBefore asks for the versions of the watched points, and finds a collection that was deleted and made anew under its name, or
// emptied: what was read before and after that is of either. Versions only grow while a collection lives.
func (t *task) sameAsBefore(ctx context.Context) (map[string]uint64, error) {
	now, err := t.b.c.pointVersions(ctx, t.name, &t.config, slices.Collect(maps.Keys(t.versions)))
	if err != nil || now == nil {
		return t.versions, err
	}
	absent, older := 0, 0
	for id, was := range t.versions {
		if is, ok := now[id]; !ok {
			absent++
		} else if is < was {
			older++
		}
	}
	if older > 0 || 2*absent > len(t.versions) {
		t.replaced.Do(func() {
			t.miss(fmt.Errorf("it was deleted and made anew, or emptied, while it was read (of %d watched points %d are gone and %d are older than before); back it up again", len(t.versions), absent, older))
		})
	}
	return now, nil
}

// sameShards finds that the collection was resharded while it was read: points moved between shards that were read at
// different times.
func (t *task) sameShards(ctx context.Context) error {
	now, err := t.b.c.layout(ctx, t.name)
	if err != nil {
		return err
	}
	ids := func(l *layout) (out []uint32) {
		for _, s := range l.shards {
			out = append(out, s.id)
		}
		return out
	}
	if len(now.Resharding) > 0 || !slices.Equal(ids(now), ids(t.layout)) {
		t.miss(errors.New("its shards were changed while it was read (resharding, or shard keys that came or went); back it up again"))
	}
	return nil
}

// sameName finds that the collection was deleted meanwhile and its name became an alias, as people switch to another one: a
// server answers for that one then, and what was read is some of each.
func (t *task) sameName(ctx context.Context) error {
	now, err := t.b.c.aliases(ctx)
	if err != nil {
		return err
	}
	if of := aliasOf(now, t.name); of != "" {
		t.miss(fmt.Errorf("its name became an alias of %q while it was read, and what was read is of either: name the collections behind the alias (or a glob) in collections", of))
	}
	return nil
}

// sameConfig records the configuration of the end when it was changed meanwhile.
func (t *task) sameConfig(ctx context.Context) error {
	now, err := t.b.c.info(ctx, t.name)
	if err != nil {
		return err
	}
	// Servers tell the fields of metadata in another order each time.
	was, err := canonical(t.info.Config, exactDigits)
	if err != nil {
		return err
	}
	is, err := canonical(now.Config, exactDigits)
	if err != nil {
		return err
	}
	if !bytes.Equal(was, is) {
		t.record.Config = now.Config
		t.b.problem(dirOf(t.name), false, errors.New("its configuration was changed while it was read; that of the end is recorded"))
	}
	t.record.PayloadSchema = now.PayloadSchema
	return nil
}

// add hands a collection's content to the sink.
func (t *task) add(sink executors.Sink) error {
	if t.b.req.Backup.Export != nil {
		return t.addExport(sink)
	}
	return t.addShards(sink)
}
