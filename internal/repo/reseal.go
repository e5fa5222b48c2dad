package repo

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// smallContent is what is read into memory whole when a point is sealed anew, so that the next entry need not wait for it;
// larger content is streamed.
const smallContent = 32 << 10

// reseal reads a point and writes it anew at the destination, in constant memory.
func (c *Copier) reseal(ctx context.Context, want PointCheck, o CopyOptions) (Receipt, error) {
	if receipt, done, err := c.there(ctx, want.Address, want.ID, ""); done || err != nil {
		return receipt, err
	}
	return c.rewrite(ctx, want, o, false)
}

// rewrite seals a point anew; with replace in the place of what is there.
func (c *Copier) rewrite(ctx context.Context, want PointCheck, o CopyOptions, replace bool) (Receipt, error) {
	rd, err := c.from.openExpected(ctx, want)
	if err != nil {
		return Receipt{}, fmt.Errorf("copy from repository %s: %w", c.from.ID(), err)
	}
	w, err := c.to.NewWriter(ctx, WriterOptions{
		Address: want.Address, Point: want.ID, Compression: o.Compression, SizeHint: rd.header.Size, replace: replace,
		Progress: func(s WriterStats) { o.Progress(s.Bytes, s.Stored) },
	})
	if err != nil {
		return Receipt{}, err
	}
	defer w.Abort()
	if err := rd.Read(ctx, nil, func(e manifest.Entry, content io.Reader) error { return w.pass(ctx, e, content) }); err != nil {
		return Receipt{}, fmt.Errorf("copy from repository %s: %w", c.from.ID(), err)
	}
	return w.Commit(ctx, rd.header.Info)
}

// openExpected opens a point for reading if its manifest is the one that the caller knows.
func (r *Repository) openExpected(ctx context.Context, c PointCheck) (*Reader, error) {
	if err := r.needRead(); err != nil {
		return nil, err
	}
	if c.ManifestSHA != "" {
		sum, there, err := r.HasManifest(ctx, c.Address, c.ID)
		if err != nil {
			return nil, err
		}
		if there && sum != c.ManifestSHA {
			return nil, damaged(manifestName(c.Address, c.ID), "its bytes hash to %s instead of %s", sum, c.ManifestSHA)
		}
	}
	return r.OpenPoint(ctx, c.Address, c.ID)
}

// pass takes over one entry from a reader.
func (w *Writer) pass(ctx context.Context, e manifest.Entry, content io.Reader) error {
	switch {
	case e.Size == 0:
		return w.Add(ctx, e, Content{})
	case e.Size <= smallContent:
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return w.Add(ctx, e, Content{SizeHint: e.Size, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }})
	}
	lent := &loan{Reader: content, back: make(chan struct{})}
	if err := w.Add(ctx, e, Content{SizeHint: e.Size, Open: func() (io.ReadCloser, error) { return lent, nil }}); err != nil {
		return err
	}
	select {
	case <-lent.back: // the reader behind content goes on to the next entry only now
		return nil
	case <-w.ctx.Done():
		w.drain() // until nobody can be reading
		return w.err()
	}
}

// loan is content that a writer's goroutine reads while its owner waits.
type loan struct {
	io.Reader
	back chan struct{}
}

// Close gives the content back. A writer opens and closes each once, since nothing here asks to be read again.
func (l *loan) Close() error {
	close(l.back)
	return nil
}
