package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
)

const (
	// packBuffers bounds the memory held in packs: one being filled, the others on their way into the store.
	packBuffers = 3
	// packsPerIndex is after how many packs an index object is written, so that an interrupted first backup of terabytes
	// need not begin again.
	packsPerIndex = 64
	// headerRoom is kept for the age header and the authentication tags of a pack.
	headerRoom = 256 << 10
)

// openPack is the pack being filled. What is written to it is sealed at once.
type openPack struct {
	number  uint32
	buf     *buffer
	sealer  io.WriteCloser
	size    int // plain inside
	records []pack.Record
}

// packer fills packs and hands full ones to uploaders. add may be called from several goroutines.
type packer struct {
	data    seal.Sealer
	place   func(chunk.ID, index.Location)
	newPack func() uint32
	free    chan *buffer
	full    chan *openPack

	mu  sync.Mutex
	cur *openPack
	dir []byte
}

// buffer is an io.Writer into a slice that is used again and again.
type buffer struct{ b []byte }

func (b *buffer) Write(p []byte) (int, error) {
	b.b = append(b.b, p...)
	return len(p), nil
}

func newPacker(data seal.Sealer, newPack func() uint32, place func(chunk.ID, index.Location)) *packer {
	p := &packer{data: data, place: place, newPack: newPack, free: make(chan *buffer, packBuffers), full: make(chan *openPack, packBuffers)}
	for range packBuffers {
		p.free <- &buffer{}
	}
	return p
}

// add appends a chunk's frame to the open pack, beginning another one when it is full. It blocks while all buffers are on
// their way, until ctx ends.
func (p *packer) add(ctx context.Context, id chunk.ID, frame []byte, plain int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cur != nil && p.cur.size+len(frame)+pack.DirectorySize(len(p.cur.records)+1) > pack.TargetSize {
		if err := p.finishLocked(); err != nil {
			return err
		}
	}
	if p.cur == nil {
		if err := p.beginLocked(ctx); err != nil {
			return err
		}
	}
	if _, err := p.cur.sealer.Write(frame); err != nil {
		return fmt.Errorf("seal pack: %w", err)
	}
	p.place(id, index.Location{Pack: p.cur.number, Offset: uint32(p.cur.size), Stored: uint32(len(frame)), Plain: uint32(plain)})
	p.cur.records = append(p.cur.records, pack.Record{ID: id, Stored: uint32(len(frame)), Plain: uint32(plain)})
	p.cur.size += len(frame)
	return nil
}

// finish ends the open pack, if there is one.
func (p *packer) finish() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finishLocked()
}

func (p *packer) beginLocked(ctx context.Context) error {
	var buf *buffer
	select {
	case buf = <-p.free:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if buf.b == nil {
		buf.b = make([]byte, 0, pack.TargetSize+headerRoom)
	}
	buf.b = buf.b[:0]
	sealer, err := p.data.Writer(buf)
	if err != nil {
		return fmt.Errorf("begin pack: %w", err)
	}
	p.cur = &openPack{number: p.newPack(), buf: buf, sealer: sealer}
	return nil
}

func (p *packer) finishLocked() error {
	if p.cur == nil {
		return nil
	}
	p.dir = pack.AppendDirectory(p.dir[:0], p.cur.records)
	if _, err := p.cur.sealer.Write(p.dir); err != nil {
		return fmt.Errorf("seal pack: %w", err)
	}
	if err := p.cur.sealer.Close(); err != nil {
		return fmt.Errorf("seal pack: %w", err)
	}
	p.full <- p.cur // never blocks: it has room for every buffer there is
	p.cur = nil
	return nil
}

// uploader stores full packs and, every so often, an index of them. One goroutine each; the fields are shared.
type uploader struct {
	r      *Repository
	finish func(number uint32, info index.PackInfo)
	stored *atomic.Int64
	lease  *lease // for upload

	mu        sync.Mutex
	unindexed []index.Pack
}

func (u *uploader) upload(ctx context.Context, p *openPack) error {
	id := index.PackID(sha256.Sum256(p.buf.b))
	name, size := packName(id.String()), int64(len(p.buf.b))
	err := u.r.bucket.Create(ctx, name, p.buf.b)
	if errors.Is(err, blob.ErrExists) {
		err = u.lease.adopt(ctx, id)
	}
	if err != nil {
		return fmt.Errorf("write pack %s: %w", id, err)
	}
	info, err := u.r.bucket.Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("look at written pack %s: %w", id, err)
	}
	if info.Size != size {
		return damaged(name, "it has %d bytes right after %d were written; the store is not reliable", info.Size, size)
	}
	u.stored.Add(size)
	u.finish(p.number, index.PackInfo{ID: id, Size: size})
	return u.note(ctx, index.Pack{ID: id, Size: size, Records: p.records})
}

// note remembers a stored pack for the next index object and writes that when it is due.
func (u *uploader) note(ctx context.Context, p index.Pack) error {
	u.mu.Lock()
	u.unindexed = append(u.unindexed, p)
	var due []index.Pack
	if len(u.unindexed) >= packsPerIndex {
		due, u.unindexed = u.unindexed, nil
	}
	u.mu.Unlock()
	return u.writeIndex(ctx, due)
}

// flush indexes every pack stored so far.
func (u *uploader) flush(ctx context.Context) error {
	u.mu.Lock()
	due := u.unindexed
	u.unindexed = nil
	u.mu.Unlock()
	return u.writeIndex(ctx, due)
}

func (u *uploader) writeIndex(ctx context.Context, packs []index.Pack) error {
	if len(packs) == 0 {
		return nil
	}
	sealed, err := u.r.sealMetadata(index.Encode(packs))
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	u.stored.Add(int64(len(sealed)))
	return createContent(ctx, u.r.bucket, indexName(hashOf(sealed)), sealed)
}
