package qdrant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/holdfast-io/holdfast/executors"
)

// addExport hands the points of every shard key to the sink. Without custom sharding there is one part. A scroll over all
// shard keys at once would leave out points whose ids stand under more than one.
func (t *task) addExport(sink executors.Sink) error {
	e := t.b.req.Backup.Export
	t.record.Export = &exportRecord{Payload: e.IncludePayload, Vectors: e.IncludeVectors}
	if e.Filter != "" {
		t.record.Export.Filter = json.RawMessage(e.Filter)
	}
	for i := range t.layout.shards {
		if err := t.readable(&t.layout.shards[i]); err != nil && len(t.layout.shards[i].active()) == 0 {
			t.miss(err)
		}
	}
	keys := t.layout.keysOf()
	t.record.Export.Parts = make([]exportPart, len(keys))
	t.open = len(keys)
	for i, key := range keys {
		part := &t.record.Export.Parts[i]
		part.Key, part.Path = key, dirOf(t.name)+"/points/"+strconv.Itoa(i)+".points"
		r := &exporter{t: t, part: part}
		if err := sink.Add(t.b.ctx, executors.Entry{Path: part.Path, Type: executors.TypeStream, ModTime: t.b.started}, executors.Content{
			Open: r.Open, SizeHint: t.info.estimate() / int64(len(keys)),
		}); err != nil {
			return err
		}
	}
	return nil
}

// exporter reads the points of one part.
type exporter struct {
	t    *task
	part *exportPart
}

// Open implements executors.OpenFunc.
func (e *exporter) Open() (io.ReadCloser, error) {
	e.t.first()
	ctx, cancel := context.WithCancel(e.t.b.ctx)
	r := &exportReader{e: e, cancel: cancel, pages: make(chan page, 1)}
	p := &pages{
		d: e.t.b.dial, tries: e.t.b.x.margins.tries + 1, collection: e.t.name, key: e.part.Key, filter: e.t.filter(), parts: e.t.fields(),
		size: e.t.config.pageSize(e.t.b.req.Backup.Export.Batch),
	}
	p.now = int(max(1, min(int64(p.size), pageBytes/max(e.t.pointBytes, 1))))
	go r.fetch(ctx, p)
	return r, nil
}

// page is encoded points, or why there are none.
type page struct {
	data   []byte
	points uint64
	err    error
}

// exportReader gives encoded points; the next page is fetched while one is read.
type exportReader struct {
	e      *exporter
	cancel context.CancelFunc
	pages  chan page
	rest   []byte
	points uint64
	bytes  int64
	err    error
}

func (r *exportReader) fetch(ctx context.Context, p *pages) {
	defer close(r.pages)
	for {
		points, err := p.next(ctx)
		out := page{err: err, points: uint64(len(points))}
		for _, one := range points {
			if out.data, err = appendPoint(out.data, one); err != nil {
				out = page{err: fmt.Errorf("encode a point of %q: %w", r.e.t.name, err)}
				break
			}
		}
		select {
		case r.pages <- out:
		case <-ctx.Done():
			return
		}
		if out.err != nil {
			return
		}
	}
}

// Read implements io.Reader.
func (r *exportReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		select {
		case next, ok := <-r.pages:
			switch {
			case !ok:
				r.err = context.Canceled
			case next.err != nil:
				r.err = r.finish(next.err)
			default:
				r.rest = next.data
				r.points += next.points
				r.bytes += int64(len(next.data))
			}
		case <-r.e.t.b.ctx.Done():
			r.err = context.Cause(r.e.t.b.ctx)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// finish records a part that was read to its end, and notes one that was not as missing.
func (r *exportReader) finish(err error) error {
	t := r.e.t
	switch {
	case errors.Is(err, io.EOF):
		r.e.part.Points, r.e.part.Bytes = r.points, r.bytes
		t.b.count(r.bytes)
		t.done()
		return io.EOF
	case t.b.ctx.Err() != nil:
		return context.Cause(t.b.ctx)
	case isNotFound(err) || isGone(err):
		err = errors.New("the collection or its shard key was deleted while it was read")
	}
	if r.e.part.Key != nil {
		err = fmt.Errorf("shard key %s: %w", r.e.part.Key, err)
	}
	t.miss(err)
	t.done()
	return executors.ErrSkip
}

// Close ends what is under way.
func (r *exportReader) Close() error {
	r.cancel()
	for range r.pages { //nolint:revive // until fetch has ended
	}
	return nil
}
