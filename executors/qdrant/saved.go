package qdrant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
)

// oldCollection is what was there before a restore: a folder of this host with its document, and safety snapshots in that
// folder or on the server.
type oldCollection struct {
	p      *restorePlan
	rec    *collectionRecord
	shards []savedShard
	had    []alias
	dir    string
	here   bool // the snapshots are in dir too
}

// safetyDoc is what a person needs beside the snapshots when holdfast was killed: it is written before anything is deleted.
type safetyDoc struct {
	*collectionRecord
	Aliases []alias `json:"aliases,omitempty"`
}

type savedShard struct {
	node   *node
	file   snapshotFile // on the server
	record *shardRecord
}

// saveOld makes a snapshot of every shard of a collection, here or on the server.
func (p *restorePlan) saveOld(ctx context.Context, name string, here bool) (_ *oldCollection, err error) {
	i, err := p.c.info(ctx, name)
	if err != nil {
		return nil, err
	}
	l, err := p.c.layout(ctx, name)
	if err != nil {
		return nil, err
	}
	old := &oldCollection{p: p, here: here, rec: &collectionRecord{
		Format: documentFormat, FormatVersion: formatVersion, Name: name, Config: i.Config, PayloadSchema: i.PayloadSchema, Cluster: l.raw,
	}}
	defer func() {
		if err != nil {
			err = errors.Join(err, old.forget(ctx))
		}
	}()
	if old.rec.Before, err = p.c.count(ctx, name, nil, nil); err != nil {
		return nil, err
	}
	old.rec.After = old.rec.Before
	for _, a := range p.there {
		if a.Collection == name {
			old.had = append(old.had, a)
		}
	}
	if old.dir, err = os.MkdirTemp(safetyDir(), "holdfast-safety-"); err != nil {
		return nil, err
	}
	p.log.Info("the old collection is kept while it is replaced", "collection", name, "dir", old.dir, "snapshots_on_server", !here)
	old.rec.Shards = make([]shardRecord, len(l.shards))
	for j, s := range l.shards {
		n, err := p.c.home(l, name, s.id)
		if err != nil {
			return nil, err
		}
		old.rec.Shards[j] = shardRecord{ID: s.id, Key: s.key, Path: fmt.Sprintf("%d.snapshot", s.id)}
		saved := savedShard{node: n, record: &old.rec.Shards[j]}
		if here {
			err = old.fetch(ctx, saved)
		} else if saved.file, err = p.x.createSnapshot(ctx, n, name, s.id); err == nil {
			saved.record.Bytes, saved.record.SHA256 = saved.file.Size, saved.file.Checksum
			old.shards = append(old.shards, saved)
		}
		if err != nil {
			return nil, err
		}
	}
	return old, old.describe()
}

// safetyDir is where folders of safety snapshots are made: TMPDIR, or what outlives a start of the host.
func safetyDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	if info, err := os.Stat("/var/tmp"); err == nil && info.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}

// describe writes the document into the folder, and makes the folder last.
func (o *oldCollection) describe() error {
	for i, s := range o.shards {
		if !o.here {
			o.rec.Shards[i].Path = s.node.url + shardPath(o.rec.Name, s.record.ID, "snapshots", s.file.Name)
		}
	}
	data, err := encodeDocument(safetyDoc{o.rec, o.had})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(o.dir, "collection.json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	folder, err := os.Open(o.dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// fetch streams a shard into a file of this host.
func (o *oldCollection) fetch(ctx context.Context, s savedShard) (err error) {
	f, err := os.OpenFile(filepath.Join(o.dir, s.record.Path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	body, err := o.p.x.streamShard(ctx, s.node, o.rec.Name, s.record.ID)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was read to its end, or failed before
	whole := follow(body, func(f followed) error {
		s.record.Bytes, s.record.SHA256 = f.report.Bytes, f.sha256
		return f.report.Whole()
	})
	buf := make([]byte, 1<<20)
	for {
		n, rerr := whole.Read(buf)
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		switch {
		case rerr == io.EOF: //nolint:errorlint // a wrapped EOF is a failure
			o.shards = append(o.shards, s)
			return f.Sync()
		case rerr != nil && !errors.Is(rerr, executors.ErrCut):
			return rerr
		}
	}
}

// forget deletes the safety snapshots.
func (o *oldCollection) forget(ctx context.Context) error {
	var errs []error
	for _, s := range o.shards {
		if !o.here {
			errs = append(errs, o.p.x.deleteSnapshot(ctx, s.node, o.rec.Name, s.record.ID, s.file.Name))
		}
	}
	if o.dir != "" {
		errs = append(errs, os.RemoveAll(o.dir))
	}
	return errors.Join(errs...)
}

// where tells a person where the safety snapshots are.
func (o *oldCollection) where() string {
	if o.here {
		return o.dir + " on this host"
	}
	var out []string
	for _, s := range o.shards {
		out = append(out, fmt.Sprintf("%s (shard %d, on %s)", s.file.Name, s.record.ID, s.node.url))
	}
	return strings.Join(out, ", ") + "; its configuration and aliases are in " + o.dir + " on this host"
}

// bringBack makes the old collection anew from its safety snapshots. It works on when the restore's context ended: that is
// one of the reasons why it is called.
func (o *oldCollection) bringBack(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	name := o.rec.Name
	failed := func(err error) error {
		return fmt.Errorf("the old collection could not be brought back by itself: %w. Its safety snapshots are kept, %s: make %q anew with its configuration, and recover each shard from them (/collections/%s/shards/ID/snapshots/upload or recover)",
			err, o.where(), name, name)
	}
	if err := o.p.x.dropCollection(ctx, o.p.c, name); err != nil {
		return failed(err)
	}
	m := o.p.maker(o.rec, name)
	m.from, m.live, m.written = savedSupply{o}, true, version{}
	m.courier = &courier{x: o.p.x, c: o.p.c, choice: viaUpload, refused: map[via]error{}}
	if err := m.make(ctx); err != nil {
		return failed(err)
	}
	if err := o.aliases(ctx); err != nil {
		return fmt.Errorf("%w. Its safety snapshots are kept, %s", err, o.where())
	}
	o.p.log.Info("the old collection was brought back", "collection", name)
	return o.forget(ctx)
}

// aliases points the aliases that the old collection had to the one that has its name now.
func (o *oldCollection) aliases(ctx context.Context) error {
	for try := 1; ; try++ {
		var actions []map[string]any
		now, err := o.p.c.aliases(ctx)
		for _, a := range o.had {
			if aliasOf(now, a.Alias) != o.rec.Name {
				actions = append(actions, createAlias(a.Alias, o.rec.Name))
			}
		}
		if err == nil {
			err = o.p.c.changeAliases(ctx, actions)
		}
		if err == nil {
			return nil
		}
		if try == o.p.x.margins.tries || !unanswered(err) || sleep(ctx, backoff(try)) != nil {
			return fmt.Errorf("collection %q is there, its aliases are not (%s): %w", o.rec.Name, o.aliasNames(), err)
		}
	}
}

func (o *oldCollection) aliasNames() string {
	var out []string
	for _, a := range o.had {
		out = append(out, a.Alias)
	}
	return executors.ListSome(out, 10)
}

// savedSupply gives safety snapshots out as a restore point gives archives. What the server keeps goes back in one motion,
// downloaded and uploaded.
type savedSupply struct{ o *oldCollection }

var _ executors.Supply = savedSupply{}

// Entries implements executors.Supply.
func (s savedSupply) Entries(_ context.Context, each func(executors.Entry) error) error {
	for _, one := range s.o.shards {
		if err := each(one.entry()); err != nil {
			return err
		}
	}
	return nil
}

func (s *savedShard) entry() executors.Entry {
	return executors.Entry{Path: s.record.Path, Type: executors.TypeStream, Size: s.record.Bytes}
}

// Read implements executors.Supply.
func (s savedSupply) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	for _, one := range s.o.shards {
		if want != nil && !want(one.entry()) {
			continue
		}
		body, err := s.open(ctx, one)
		if err != nil {
			return err
		}
		err = each(one.entry(), body)
		if cerr := body.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s savedSupply) open(ctx context.Context, one savedShard) (io.ReadCloser, error) {
	if s.o.here {
		return os.Open(filepath.Join(s.o.dir, one.record.Path))
	}
	return s.o.p.x.downloadSnapshot(ctx, one.node, s.o.rec.Name, one.record.ID, one.file), nil
}

// Meta implements executors.Supply.
func (s savedSupply) Meta() map[string]string { return nil }
