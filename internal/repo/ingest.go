package repo

import (
	"fmt"
	"io"
	"math/bits"
	"sync"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// readItems reads content, one item after the other, until there are no more.
func (w *Writer) readItems() {
	rd := &ingester{w: w, hasher: w.r.keys.NewHasher()}
	for it := range w.work {
		if w.err() == nil {
			if err := rd.read(it); err != nil {
				w.fail(err)
			}
		}
		close(it.done)
	}
}

// ingester is what one reading goroutine owns.
type ingester struct {
	w      *Writer
	hasher chunk.Hasher
	buf    []byte
}

// read takes an item's content in, again and again while its reader says that it changed meanwhile.
func (rd *ingester) read(it *item) error {
	for {
		bytes, reused, err := rd.once(it)
		if err == nil {
			it.entry.Size = bytes
			return nil
		}
		rd.w.bytes.Add(-bytes)
		rd.w.reused.Add(-reused)
		it.refs = it.refs[:0]
		switch {
		case rd.w.err() != nil:
			return rd.w.err()
		case rd.w.o.IsReread != nil && rd.w.o.IsReread(err):
			continue
		case rd.w.o.IsSkip != nil && rd.w.o.IsSkip(err):
			it.skipped = true
			return nil
		default:
			return fmt.Errorf("read %s: %w", it.entry.Path, err)
		}
	}
}

func (rd *ingester) once(it *item) (bytes, reused int64, err error) {
	body, err := it.content.Open()
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if cerr := body.Close(); err == nil {
			err = cerr
		}
	}()
	var token bool
	defer func() {
		if token {
			<-rd.w.large
		}
	}()
	buf, eof, cut := rd.buf[:0], false, false
	for {
		cutter := rd.w.cutter(max(it.content.SizeHint, bytes))
		if !eof && !cut && len(buf) < cutter.Sizes().Max {
			if bytes > 0 && !token {
				// Two large contents at a time would be interleaved in the packs and cost a restore of one twice the reading.
				select {
				case rd.w.large <- struct{}{}:
					token = true
				case <-rd.w.ctx.Done():
					return bytes, reused, rd.w.err()
				}
			}
			if buf, eof, cut, err = rd.fill(body, buf, cutter.Sizes().Max); err != nil {
				return bytes, reused, err
			}
		}
		if len(buf) == 0 {
			return bytes, reused, nil
		}
		n := cutter.Cut(buf)
		ref, fresh, err := rd.w.store(rd.hasher, buf[:n])
		if err != nil {
			return bytes, reused, err
		}
		it.refs = append(it.refs, ref)
		bytes += int64(n)
		rd.w.bytes.Add(int64(n))
		if !fresh {
			reused += int64(n)
			rd.w.reused.Add(int64(n))
		}
		rd.w.progress()
		if buf = buf[n:]; len(buf) == 0 {
			cut = false
		}
	}
}

// fill moves rest to the front of the reader's buffer and reads until that is full, the content ends, or its reader asks for
// a cut behind what it gave.
func (rd *ingester) fill(body io.Reader, rest []byte, largest int) (buf []byte, eof, cut bool, err error) {
	if want := max(readBuffer, 2*largest); len(rd.buf) < want {
		grown := make([]byte, want)
		copy(grown, rest)
		rd.buf = grown
	} else {
		copy(rd.buf, rest)
	}
	end, idle := len(rest), 0
	for end < len(rd.buf) {
		n, err := body.Read(rd.buf[end:])
		end += n
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is a producer's failure, not the end
			return rd.buf[:end], true, false, nil
		}
		cut = err != nil && rd.w.o.IsCut != nil && rd.w.o.IsCut(err)
		if err != nil && !cut {
			return nil, false, false, err
		}
		if cut && end > 0 {
			return rd.buf[:end], false, true, nil
		}
		if idle++; n > 0 {
			idle = 0
		}
		if idle > 100 {
			return nil, false, false, io.ErrNoProgress
		}
	}
	return rd.buf[:end], false, false, nil
}

// cutter returns the cutter for content of which so much is expected or was seen: sizes grow inside a stream whose size
// nobody foretold, at places that depend on the position only.
func (w *Writer) cutter(bytes int64) *chunk.Cutter {
	return w.cutters[chunk.SizesFor(w.r.config.Chunking.Average, max(bytes, w.o.SizeHint)).Average]
}

// store makes sure that a chunk is stored or on its way. data is copied when it is new.
func (w *Writer) store(h chunk.Hasher, data []byte) (ref manifest.Ref, fresh bool, err error) {
	ref = manifest.Ref{ID: h.Sum(data), Size: uint32(len(data))}
	if !w.reserve(ref) {
		return ref, false, nil
	}
	if err := w.budget.Acquire(w.ctx, int64(len(data))); err != nil {
		return ref, true, w.err()
	}
	j := job{id: ref.ID, data: append(takeBuffer(len(data)), data...)}
	w.inFlight.Add(1)
	select {
	case w.jobs <- j:
		return ref, true, nil
	case <-w.ctx.Done():
		w.inFlight.Done()
		return ref, true, w.err()
	}
}

// reserve tells whether a chunk is new, and if so notes that it is on its way, so that nobody else stores it again.
func (w *Writer) reserve(ref manifest.Ref) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	loc, ok := w.index.Lookup(ref.ID)
	if !ok {
		w.index.Reserve(ref.ID, ref.Size)
		return true
	}
	w.useLocked(loc)
	return false
}

func (w *Writer) useLocked(loc index.Location) {
	if loc.Pack != index.Pending { // a pending one ends in a pack of ours, which is used in any case
		w.used[loc.Pack] = struct{}{}
	}
}

// compress makes frames of new chunks. After a failure it only empties the queue.
func (w *Writer) compress(encoder *frame.Encoder) {
	var out []byte
	for j := range w.jobs {
		if w.err() == nil {
			if need := len(j.data) + frame.Overhead(len(j.data)); cap(out) < need {
				out = make([]byte, 0, need)
			}
			out = encoder.Append(out[:0], j.data)
			if err := w.packer.add(w.ctx, j.id, out, len(j.data)); err != nil {
				w.fail(err)
			}
		}
		w.budget.Release(int64(len(j.data)))
		giveBuffer(j.data)
		w.inFlight.Done()
	}
}

func (w *Writer) upload() {
	for p := range w.packer.full {
		if w.err() == nil {
			if err := w.uploader.upload(w.ctx, p); err != nil {
				w.fail(err)
			}
		}
		w.packer.free <- p.buf
	}
}

func (w *Writer) newPack() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.index.NewPack()
	w.used[n] = struct{}{}
	return n
}

func (w *Writer) place(id chunk.ID, loc index.Location) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.Place(id, loc)
}

func (w *Writer) finishPack(number uint32, info index.PackInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.Finish(number, info)
}

// recognise takes an item's content from the hints of the newest earlier point, when all of it is still stored.
func (w *Writer) recognise(it *item) bool {
	if len(it.content.Fingerprint) == 0 || w.known == nil {
		return false
	}
	refs, ok := w.known.Lookup(it.path, it.print)
	if !ok {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var size int64
	for _, ref := range refs {
		if _, ok := w.index.Lookup(ref.ID); !ok {
			return false
		}
		size += int64(ref.Size)
	}
	for _, ref := range refs {
		loc, _ := w.index.Lookup(ref.ID)
		w.useLocked(loc)
	}
	it.refs, it.entry.Size = refs, size
	w.bytes.Add(size)
	w.reused.Add(size)
	return true
}

// pools keeps chunk buffers by powers of two: class n holds capacities of 1<<n and more.
var pools [32]sync.Pool

// takeBuffer returns an empty buffer with room for n bytes.
func takeBuffer(n int) []byte {
	class := bits.Len(uint(max(n, 4096) - 1))
	if p, ok := pools[class].Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, 1<<class)
}

func giveBuffer(b []byte) {
	b = b[:0]
	if class := bits.Len(uint(cap(b))) - 1; class >= 0 && class < len(pools) {
		pools[class].Put(&b)
	}
}
