package qdrant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/holdfast-io/holdfast/executors"
)

// Verify implements executors.Executor: it reads every archive as a server would unpack it, to its end marker and last
// members, compares sizes, checksums and segments with what was recorded, and decodes every exported point. It needs no
// server.
func (x *Executor) Verify(ctx context.Context, req executors.VerifyRequest, from executors.Supply) (executors.Result, error) {
	c, err := readContents(ctx, from, nil)
	if err != nil {
		return executors.Result{}, err
	}
	shards, parts := map[string]*shardRecord{}, map[string]*exportPart{}
	for _, r := range c.collections {
		for i := range r.Shards {
			shards[r.Shards[i].Path] = &r.Shards[i]
		}
		if r.Export != nil {
			for i := range r.Export.Parts {
				parts[r.Export.Parts[i].Path] = &r.Export.Parts[i]
			}
		}
		// A point that is known to be incomplete is read all the same: what it holds may be needed.
		if len(r.Missing) == 0 {
			if err := c.whole(r); err != nil {
				return executors.Result{}, err
			}
		}
	}
	res := executors.Result{Version: c.made.text, Bytes: c.read, Items: int64(len(c.collections)) + 1}
	err = from.Read(ctx, func(e executors.Entry) bool { return !isDocument(e.Path) }, func(e executors.Entry, r io.Reader) error {
		var n int64
		var err error
		switch {
		case shards[e.Path] != nil:
			n, err = verifyArchive(ctx, shards[e.Path], r)
		case parts[e.Path] != nil:
			n, err = verifyPoints(ctx, parts[e.Path], r)
		default:
			err = errors.New("no collection's document tells of it")
		}
		if err != nil {
			return fmt.Errorf("verify %s: %w", e.Path, err)
		}
		res.Items++
		res.Bytes += n
		return nil
	})
	if err != nil {
		return executors.Result{}, err
	}
	logger(req.Log).Debug("restore point verified", "items", res.Items, "bytes", res.Bytes)
	return res, nil
}

func verifyArchive(ctx context.Context, s *shardRecord, r io.Reader) (int64, error) {
	if s.SHA256 == "" {
		// Its backup failed after the archive was stored; whether it is whole is all that can be told.
		f := follow(r, nil)
		n, err := drain(ctx, f)
		return n, cmp.Or(err, f.result().report.Whole())
	}
	f := follow(r, func(f followed) error {
		switch {
		case f.report.Bytes != s.Bytes:
			return fmt.Errorf("it holds %d bytes, recorded are %d", f.report.Bytes, s.Bytes)
		case f.sha256 != s.SHA256:
			return fmt.Errorf("its checksum is %s, recorded is %s", f.sha256, s.SHA256)
		case !slices.Equal(f.report.Segments(), s.Segments):
			return fmt.Errorf("it holds the segments %v, recorded are %v", f.report.Segments(), s.Segments)
		}
		return f.report.Whole()
	})
	return drain(ctx, f)
}

// drain reads to the end.
func drain(ctx context.Context, r io.Reader) (int64, error) {
	var n int64
	buf := make([]byte, 256<<10)
	for {
		if ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		k, err := r.Read(buf)
		n += int64(k)
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped EOF is a failure
			return n, nil
		case err != nil && !errors.Is(err, executors.ErrCut):
			return n, err
		}
	}
}

func verifyPoints(ctx context.Context, p *exportPart, r io.Reader) (int64, error) {
	counted := &watchedReader{r: r}
	points := newPointDecoder(counted)
	for {
		if points.n%1024 == 0 && ctx.Err() != nil {
			return counted.n, context.Cause(ctx)
		}
		_, err := points.next()
		switch {
		case errors.Is(err, io.EOF) && counted.err == nil:
			if points.n != p.Points || counted.n != p.Bytes {
				return counted.n, fmt.Errorf("it holds %d points in %d bytes, recorded are %d in %d", points.n, counted.n, p.Points, p.Bytes)
			}
			return counted.n, nil
		case err != nil:
			return counted.n, cmp.Or(counted.err, err)
		}
	}
}
