package executortest

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/holdfast-io/holdfast/executors"
)

// Supply gives a committed point of a Store back.
type Supply struct {
	point  string
	items  []*Item
	meta   map[string]string
	damage int64
	err    error
	onRead func(executors.Entry)
}

var _ executors.Supply = (*Supply)(nil)

// Supply opens a committed point.
func (s *Store) Supply(point string) *Supply {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.points[point]
	if k == nil {
		panic("executortest: no point " + point)
	}
	return &Supply{point: point, items: k.items, meta: k.meta}
}

// NewSupply makes a supply of any items, such as hostile ones.
func NewSupply(items ...*Item) *Supply { return &Supply{point: "made", items: items} }

// WithMeta sets what Meta returns.
func (s *Supply) WithMeta(meta map[string]string) *Supply {
	out := *s
	out.meta = meta
	return &out
}

// Damage makes reading fail with err after n bytes of content of the whole point, as a damaged object does.
func (s *Supply) Damage(n int64, err error) *Supply {
	s.damage, s.err = n, err
	return s
}

// OnRead calls fn before the content of each entry is handed out.
func (s *Supply) OnRead(fn func(executors.Entry)) *Supply {
	s.onRead = fn
	return s
}

// Size returns the bytes of content in the point.
func (s *Supply) Size() int64 {
	var n int64
	for _, it := range s.items {
		n += int64(len(it.Data))
	}
	return n
}

// Entries implements executors.Supply.
func (s *Supply) Entries(ctx context.Context, each func(executors.Entry) error) error {
	for _, it := range s.items {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := each(it.Entry); err != nil {
			return err
		}
	}
	return nil
}

// Read implements executors.Supply.
func (s *Supply) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	r := &supplyReader{ctx: ctx, left: -1}
	if s.err != nil {
		r.left, r.err = s.damage, s.err
	}
	for _, it := range s.items {
		if want != nil && !want(it.Entry) {
			r.skip(int64(len(it.Data)))
			continue
		}
		if s.onRead != nil {
			s.onRead(it.Entry)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.path, r.data = it.Entry.Path, bytes.NewReader(it.Data)
		if err := each(it.Entry, r); err != nil {
			return err
		}
	}
	return nil
}

// Meta implements executors.Supply.
func (s *Supply) Meta() map[string]string { return s.meta }

type supplyReader struct {
	ctx  context.Context
	path string
	data *bytes.Reader
	left int64 // bytes until err; -1 means never
	err  error
}

// skip passes over content that nobody asked for; damage within it is not met.
func (r *supplyReader) skip(n int64) {
	if r.left >= 0 && r.left < n {
		r.left = -1
	} else if r.left >= 0 {
		r.left -= n
	}
}

func (r *supplyReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if r.data.Len() == 0 {
		return 0, io.EOF
	}
	if r.left == 0 {
		return 0, fmt.Errorf("read %s: %w", r.path, r.err)
	}
	// Blocks stay small so that consumers meet short reads, as they do on real stores.
	p = p[:min(len(p), 16<<10)]
	if r.left > 0 {
		p = p[:min(int64(len(p)), r.left)]
	}
	n, err := r.data.Read(p)
	if r.left > 0 {
		r.left -= int64(n)
	}
	return n, err
}
