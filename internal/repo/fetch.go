package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

// The layout of an age file's payload: a nonce, then blocks of 64 KiB, each with a tag.
const (
	ageNonce   = 16
	ageBlock   = 64 << 10
	ageSealed  = ageBlock + 16
	firstHead  = 8 << 10 // how much is read first to find the header; more recipients take more
	longestAge = 1 << 20
	keptHeads  = 128
)

// packReader reads ranges of the plain inside of packs. What it takes to open a pack (header, unwrapped file key, last
// block) is kept, so that every further range costs one request. Safe for concurrent use.
type packReader struct {
	r *Repository

	mu    sync.Mutex
	heads map[index.PackID]*packHead
}

// packHead is what is kept of a sealed pack.
type packHead struct {
	once    sync.Once
	err     error
	head    []byte // the first bytes, header and nonce included
	payload int64  // where the first block begins
	tail    []byte // the last block as stored; age authenticates the length of a file with it
	tailAt  int64
	plain   int64 // size of the plain inside
	key     age.Identity
}

func newPackReader(r *Repository) *packReader {
	return &packReader{r: r, heads: map[index.PackID]*packHead{}}
}

// read returns length plain bytes from offset of a pack, in a buffer from the pools. Problems of the pack are DamagedErrors.
func (p *packReader) read(ctx context.Context, info index.PackInfo, offset, length int64) ([]byte, error) {
	name := packName(info.ID.String())
	if p.r.data.Plain {
		return p.get(ctx, name, info.Size, offset, length)
	}
	h, err := p.open(ctx, info)
	if err != nil {
		return nil, err
	}
	if offset < 0 || length <= 0 || offset+length > h.plain {
		return nil, damaged(name, "the index expects %d bytes at offset %d, it holds %d", length, offset, h.plain)
	}
	from := h.payload + offset/ageBlock*ageSealed
	to := min(h.payload+((offset+length-1)/ageBlock+1)*ageSealed, info.Size)
	window, err := p.get(ctx, name, info.Size, from, to-from)
	if err != nil {
		return nil, err
	}
	src := spans{{0, h.head}, {h.tailAt, h.tail}, {from, window}}
	plain, _, err := age.DecryptReaderAt(src, info.Size, h.key)
	if err != nil {
		return nil, damaged(name, "%v", err)
	}
	out := takeBuffer(int(length))[:length]
	if _, err := plain.ReadAt(out, offset); err != nil && !errors.Is(err, io.EOF) {
		giveBuffer(out)
		return nil, damaged(name, "%v", err)
	}
	return out, nil
}

// size returns the size of the plain inside of a pack.
func (p *packReader) size(ctx context.Context, info index.PackInfo) (int64, error) {
	if p.r.data.Plain {
		return info.Size, nil
	}
	h, err := p.open(ctx, info)
	if err != nil {
		return 0, err
	}
	return h.plain, nil
}

// directory reads which chunks a pack holds, from its own end.
func (p *packReader) directory(ctx context.Context, info index.PackInfo) ([]pack.Record, error) {
	name := packName(info.ID.String())
	total, err := p.size(ctx, info)
	if err != nil {
		return nil, err
	}
	if total < pack.TrailerSize {
		return nil, damaged(name, "too short for a pack")
	}
	trailer, err := p.read(ctx, info, total-pack.TrailerSize, pack.TrailerSize)
	if err != nil {
		return nil, err
	}
	size, err := pack.FrameSize(trailer)
	if err == nil && size > total {
		err = fmt.Errorf("pack directory claims %d bytes of %d", size, total)
	}
	if err != nil {
		return nil, damaged(name, "%v", err)
	}
	raw, err := p.read(ctx, info, total-size, size)
	if err != nil {
		return nil, err
	}
	records, err := pack.DecodeDirectory(raw, total)
	return records, wrapDamaged(name, err)
}

// get reads a range of the stored bytes. A pack that is absent or shorter than the index says is damaged; other failures
// are the bucket's.
func (p *packReader) get(ctx context.Context, name string, size, offset, length int64) ([]byte, error) {
	data, err := p.r.bucket.GetRange(ctx, name, offset, length)
	if err == nil {
		return data, nil
	}
	if errors.Is(err, blob.ErrNotFound) {
		return nil, damaged(name, "it is missing from the store")
	}
	if info, serr := p.r.bucket.Stat(ctx, name); serr == nil && info.Size != size {
		return nil, damaged(name, "it has %d bytes instead of %d", info.Size, size)
	}
	return nil, fmt.Errorf("read %s: %w", name, err)
}

func (p *packReader) open(ctx context.Context, info index.PackInfo) (*packHead, error) {
	p.mu.Lock()
	h := p.heads[info.ID]
	if h == nil {
		if len(p.heads) >= keptHeads {
			clear(p.heads) // restores move forward: what was opened long ago is rarely needed again
		}
		h = &packHead{}
		p.heads[info.ID] = h
	}
	p.mu.Unlock()
	h.once.Do(func() { h.err = h.load(ctx, p, info) })
	if h.err != nil && !isDamage(h.err) {
		p.mu.Lock()
		delete(p.heads, info.ID) // the store may answer next time
		p.mu.Unlock()
	}
	return h, h.err
}

func (h *packHead) load(ctx context.Context, p *packReader, info index.PackInfo) error {
	name := packName(info.ID.String())
	if stat, err := p.r.bucket.Stat(ctx, name); errors.Is(err, blob.ErrNotFound) {
		return damaged(name, "it is missing from the store")
	} else if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	} else if stat.Size != info.Size {
		return damaged(name, "it has %d bytes instead of %d", stat.Size, info.Size)
	}
	var header []byte
	for n := int64(firstHead); ; n *= 4 {
		var err error
		if h.head, err = p.get(ctx, name, info.Size, 0, min(n, info.Size)); err != nil {
			return err
		}
		if header, err = age.ExtractHeader(bytes.NewReader(h.head)); err == nil {
			break
		}
		if n >= info.Size || n >= longestAge {
			return damaged(name, "%v", err)
		}
	}
	key, err := age.DecryptHeader(header, p.r.data.Identities...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		whole, gerr := p.get(ctx, name, info.Size, 0, info.Size)
		if gerr != nil {
			return gerr
		}
		if hashOf(whole) == info.ID.String() {
			return &OtherKeyError{Object: name}
		}
	}
	if err != nil {
		return damaged(name, "%v", err)
	}
	h.key = age.NewInjectedFileKeyIdentity(key)
	h.payload = int64(len(header)) + ageNonce
	sealed := info.Size - h.payload
	blocks := (sealed + ageSealed - 1) / ageSealed
	h.plain = sealed - blocks*(ageSealed-ageBlock)
	h.tailAt = h.payload + (blocks-1)*ageSealed
	if blocks <= 0 || h.plain < 0 {
		return damaged(name, "it has no payload")
	}
	h.tail, err = p.get(ctx, name, info.Size, h.tailAt, info.Size-h.tailAt)
	return err
}

// spans is an io.ReaderAt over the parts of an object that were read.
type spans []span

type span struct {
	at   int64
	data []byte
}

// ReadAt serves a read from the span that holds its beginning and most of it.
func (s spans) ReadAt(p []byte, off int64) (int, error) {
	best := 0
	for _, sp := range s {
		if off < sp.at || off >= sp.at+int64(len(sp.data)) {
			continue
		}
		if n := copy(p, sp.data[off-sp.at:]); n == len(p) {
			return n, nil
		} else if n > best {
			best = n
		}
	}
	return best, io.ErrUnexpectedEOF
}
