package qdrant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// addShards hands every shard of a collection to the sink, each from one active replica.
func (t *task) addShards(sink executors.Sink) error {
	t.record.Shards = make([]shardRecord, len(t.layout.shards))
	var readable []int
	for i := range t.layout.shards {
		s := &t.layout.shards[i]
		t.record.Shards[i] = shardRecord{
			ID: s.id, Key: s.key, Path: dirOf(t.name) + "/shards/" + strconv.FormatUint(uint64(s.id), 10) + ".snapshot",
		}
		if err := t.readable(s); err != nil {
			t.miss(err)
			continue
		}
		readable = append(readable, i)
	}
	if len(t.layout.shards) == 0 {
		// Custom sharding without a key yet: there is nothing to read.
		t.open = 1
		t.first()
		t.done()
		return nil
	}
	t.open = len(readable)
	for _, i := range readable {
		r := &reader{t: t, shard: &t.layout.shards[i], record: &t.record.Shards[i]}
		if err := sink.Add(t.b.ctx, executors.Entry{Path: r.record.Path, Type: executors.TypeStream, ModTime: t.b.started}, executors.Content{
			Open: r.Open, SizeHint: r.estimate(),
		}); err != nil {
			return err
		}
	}
	return nil
}

// readable tells why a shard cannot be read from anywhere, nil when it can.
func (t *task) readable(s *shard) error {
	if len(t.b.c.holders(s)) > 0 {
		return nil
	}
	states := ""
	for _, r := range s.replicas {
		states += fmt.Sprintf(", node %d: %s", r.peer, r.state)
	}
	if active := s.active(); len(active) > 0 {
		return fmt.Errorf("shard %d is active only on node %d (%s), which no URL in urls reaches", s.id, active[0], t.b.c.peers[active[0]])
	}
	return fmt.Errorf("shard %d has no active replica%s", s.id, states)
}

// mode is how a shard of about so many bytes is read. full tells that the server had no room for a file of it.
func (b *backup) mode(bytes int64, full bool) policy.SnapshotMode {
	switch m := b.req.Backup.Snapshot.Mode; {
	case m != policy.SnapshotAuto && m != "":
		return m
	case full && !b.c.version.less(patient):
		return policy.SnapshotStream
	case b.c.version.less(patient), b.req.Backup.MaxRate > 0:
		return policy.SnapshotFile // a slow reader must not hold up a shard
	case b.c.shared != "" && roomIn(b.c.shared, 3*bytes+roomLeft):
		return policy.SnapshotFile // quicker than a stream, and it holds the shard up for less time
	default:
		return policy.SnapshotStream // nobody says how full the server's disk is, and filling it ends production
	}
}

// roomLeft is what a snapshot file must leave free on the server's disk, beside room for estimates that were too low.
const roomLeft = 2 << 30

// roomIn tells whether a folder's disk has so many free bytes.
func roomIn(dir string, bytes int64) bool {
	var fs unix.Statfs_t
	return unix.Statfs(dir, &fs) == nil && int64(fs.Bavail)*fs.Bsize >= bytes
}

// reader reads one shard for the sink, which may open it again.
type reader struct {
	t      *task
	shard  *shard
	record *shardRecord
	try    int
	full   bool // the server's disk had no room for a file of it
}

func (r *reader) estimate() int64 {
	points := r.shard.points
	if !r.shard.local {
		points = int64(r.t.info.PointsCount) / int64(max(len(r.t.layout.shards), 1))
	}
	return points * max(r.t.config.pointBytes(), r.t.pointBytes)
}

// Open implements executors.OpenFunc. Each time it takes the next replica.
func (r *reader) Open() (io.ReadCloser, error) {
	b := r.t.b
	r.t.first()
	weight := int64(1)
	if r.estimate() >= b.x.margins.large {
		weight = b.x.margins.parallel
	}
	if err := b.turns.Acquire(b.ctx, weight); err != nil {
		return nil, context.Cause(b.ctx)
	}
	try := r.try
	r.try++
	// Hours may have passed since the first look: a replica that is being built anew is no copy of anything.
	r.look()
	candidates := b.c.holders(r.shard)
	if len(candidates) == 0 {
		b.turns.Release(weight)
		return nil, r.failed(r.t.readable(r.shard))
	}
	n := candidates[try%len(candidates)]
	if r.try > 1 {
		if err := sleep(b.ctx, backoff(r.try-1)); err != nil {
			b.turns.Release(weight)
			return nil, err
		}
	}
	rc, err := r.from(n)
	if err != nil {
		b.turns.Release(weight)
		return nil, r.failed(err)
	}
	rc.release = func() { b.turns.Release(weight) }
	return rc, nil
}

// look finds out where the shard's replicas are now. When nobody says so, what was seen before must do: reading finds out.
func (r *reader) look() {
	now, err := r.t.b.c.layout(r.t.b.ctx, r.t.name)
	if err != nil {
		return
	}
	if i := slices.IndexFunc(now.shards, func(s shard) bool { return s.id == r.shard.id }); i >= 0 {
		r.shard = &now.shards[i]
	}
}

// from begins to read a shard from one node.
func (r *reader) from(n *node) (*shardReader, error) {
	b := r.t.b
	out := &shardReader{r: r, node: n, mode: b.mode(r.estimate(), r.full)}
	var body io.ReadCloser
	if out.mode == policy.SnapshotStream {
		var err error
		if body, err = b.x.streamShard(b.ctx, n, r.t.name, r.shard.id); err != nil {
			return nil, err
		}
	} else {
		file, err := b.x.createSnapshot(b.ctx, n, r.t.name, r.shard.id)
		var lost *lostSnapshot
		if errors.As(err, &lost) {
			b.problem(r.record.Path, false, lost) // the next try may work, and would hide what is left
			b.log.Warn("a snapshot may be left on the server", "collection", r.t.name, "shard", r.shard.id, "err", b.c.hide(lost))
		}
		r.full = r.full || err != nil && strings.Contains(err.Error(), noSpace)
		if err != nil {
			return nil, err
		}
		out.file = &file
		if file.Checksum == "" {
			b.unchecked.Do(func() {
				b.problem("server", false, errors.New("the server gives no checksum of its snapshots (it keeps them in S3?), so that a file it wrote wrongly there is found by its structure only; mode = \"stream\" needs no file"))
			})
		}
		body = b.x.downloadSnapshot(b.ctx, n, r.t.name, r.shard.id, file)
	}
	out.body = body
	out.follower = follow(body, out.judge)
	return out, nil
}

// failed decides what an error of reading means: the sink opens again, leaves the entry away, or ends.
func (r *reader) failed(err error) error {
	b := r.t.b
	var said *statusError
	gone := false
	if isGone(err) { // or a shard was moved, or somebody deleted a snapshot that was being read
		_, ierr := b.c.info(b.ctx, r.t.name)
		gone = isGone(ierr)
	}
	final := errors.As(err, &said) && said.Status < 500 && said.Status != http.StatusNotFound && said.Status != http.StatusTooManyRequests && said.Status != http.StatusRequestTimeout
	switch {
	case b.ctx.Err() != nil:
		return context.Cause(b.ctx)
	case !gone && !final && r.try < max(b.x.margins.tries, len(b.c.holders(r.shard))):
		b.log.Warn("a shard is read again", "collection", r.t.name, "shard", r.shard.id, "attempt", r.try, "err", b.c.hide(err))
		return executors.ErrReread
	}
	if gone {
		err = errors.New("the collection was deleted or renamed while it was read")
	}
	r.t.miss(fmt.Errorf("shard %d: %w", r.shard.id, err))
	r.t.done()
	return executors.ErrSkip
}

// shardReader is one try to read a shard.
type shardReader struct {
	*follower
	r       *reader
	node    *node
	mode    policy.SnapshotMode
	file    *snapshotFile // on the server
	body    io.Closer
	release func()
	closed  bool
}

// Read gives the archive. What goes wrong is handed to the reader's judgement.
func (s *shardReader) Read(p []byte) (int, error) {
	n, err := s.follower.Read(p)
	if err == nil || errors.Is(err, executors.ErrCut) || err == io.EOF { //nolint:errorlint // a wrapped EOF is a failure
		return n, err
	}
	if errors.Is(err, executors.ErrReread) || errors.Is(err, executors.ErrSkip) {
		return n, err
	}
	return n, s.r.failed(err)
}

// judge decides whether an archive that ended is whole, and records it.
func (s *shardReader) judge(f followed) error {
	if err := f.report.Whole(); err != nil {
		return err
	}
	if state := f.report.Replica; state != "" && state != stateActive {
		return fmt.Errorf("the replica on %s was %s when it was read, and lacks points", s.node.url, state)
	}
	checked := s.file != nil && s.file.Checksum != ""
	if checked && s.file.Checksum != f.sha256 {
		return fmt.Errorf("the download's checksum is %s, the server said %s", f.sha256, s.file.Checksum)
	}
	if t := s.r.t; len(t.versions) > 0 {
		if _, err := t.sameAsBefore(t.b.ctx); err != nil && t.b.ctx.Err() == nil {
			t.b.log.Debug("the watched points cannot be asked for", "collection", t.name, "err", t.b.c.hide(err)) // the end asks again
		}
	}
	rec := s.r.record
	rec.Bytes, rec.SHA256, rec.Server, rec.Mode = f.report.Bytes, f.sha256, checked, string(s.mode)
	rec.Segments, rec.Members = f.report.Segments(), f.report.Members
	if s.node.peer != 0 {
		rec.Peer = strconv.FormatUint(s.node.peer, 10)
	}
	s.r.t.b.count(rec.Bytes)
	s.r.t.done()
	return nil
}

// Close lets the server go: the request ends, and the file that was made is deleted.
func (s *shardReader) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	err := s.body.Close()
	if s.file != nil {
		if derr := s.r.t.b.x.deleteSnapshot(s.r.t.b.ctx, s.node, s.r.t.name, s.r.shard.id, s.file.Name); derr != nil {
			s.r.t.b.problem(s.r.record.Path, false, derr)
		}
	}
	s.release()
	return err
}
