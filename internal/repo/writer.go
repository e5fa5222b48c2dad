package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/hints"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// WriterOptions say which restore point is made and how.
type WriterOptions struct {
	Address     string // of the backup
	Point       string // id of the restore point; must be new
	Compression string // none, fast, default or better; empty means default
	SizeHint    int64  // bytes of the whole source, 0 when unknown. Keep it alike from one point to the next: it selects the chunk sizes
	IsSkip      func(error) bool
	IsReread    func(error) bool
	IsCut       func(error) bool  // an error beside bytes that is none: a chunk ends behind them
	Progress    func(WriterStats) // called now and then, from any goroutine, one call at a time; may be nil

	replace bool // a damaged point of the same name is repaired
}

// WriterStats count what was taken in so far.
type WriterStats struct {
	Items  int64
	Bytes  int64 // plain bytes read or recognised
	Stored int64 // bytes added to the store
	Reused int64 // plain bytes that were stored before
}

// Content says where an entry's bytes come from.
type Content struct {
	Open        func() (io.ReadCloser, error) // nil for entries without content. May be called on another goroutine, and again after a reread
	SizeHint    int64                         // expected bytes, 0 when unknown; steers chunk sizes only
	Fingerprint []byte                        // identifies unchanged content; empty: always read
}

// Limits of a writer's pipeline. Together with the index they bound its memory.
const (
	pendingItems  = 512      // entries under way between Add and the manifest
	bytesInFlight = 24 << 20 // plain bytes between reading and compressing
	readBuffer    = 2 << 20  // at least; always twice the largest chunk
	maxReaders    = 4
	maxWorkers    = 64
	progressEvery = 200 * time.Millisecond
)

// Writer makes one restore point. Its methods are called from one goroutine at a time, except Stats.
// After the first error every call returns it, and nothing of the point exists.
type Writer struct {
	r        *Repository
	o        WriterOptions
	ctx      context.Context
	cancel   context.CancelCauseFunc
	cutters  map[int]*chunk.Cutter // by average
	known    *hints.Table          // of the newest earlier point
	keyer    *hints.Keyer
	packer   *packer
	uploader *uploader
	seq      *sequencer
	lease    *lease
	warnings []string

	mu    sync.Mutex // guards index and used
	index *index.Index
	used  map[uint32]struct{} // numbers of packs that the point refers to

	pending  chan *item // to the sequencer, in the order of Add
	work     chan *item // to the readers
	jobs     chan job   // to the compressing workers
	inFlight sync.WaitGroup
	budget   *semaphore.Weighted
	large    chan struct{} // tokens for content larger than one buffer

	readers, workers, uploaders, sequencing sync.WaitGroup
	closed                                  bool

	items, bytes, stored, reused atomic.Int64
	lastProgress                 atomic.Int64
	progressMu                   sync.Mutex
}

// item is one entry on its way. done is closed when its content was read; the fields behind it belong to the reader until
// then and to the sequencer afterwards.
type item struct {
	entry   manifest.Entry
	content Content
	path    hints.Key
	print   hints.Key
	done    chan struct{}
	refs    []manifest.Ref
	skipped bool
	barrier bool // not an entry: Flush waits for it to be done
}

// job is one new chunk on its way to a pack.
type job struct {
	id   chunk.ID
	data []byte // pooled
}

// NewWriter begins a restore point. ctx bounds the life of the writer. The caller ends it with Commit or Abort.
//
// Errors: KeyError, errors of the bucket, or that the point exists.
func (r *Repository) NewWriter(ctx context.Context, o WriterOptions) (*Writer, error) {
	if err := r.needWrite(); err != nil {
		return nil, err
	}
	if err := checkPoint(o.Address, o.Point); err != nil {
		return nil, err
	}
	if _, err := frame.NewEncoder(frame.Level(o.Compression)); err != nil {
		return nil, err
	}
	if _, err := r.bucket.Stat(ctx, manifestName(o.Address, o.Point)); err == nil && !o.replace {
		return nil, fmt.Errorf("restore point %s of %s exists already", o.Point, o.Address)
	} else if err != nil && !errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("look for restore point %s of %s: %w", o.Point, o.Address, err)
	}
	held, err := r.writerLease(ctx) // before the look at what may be used: a pruner waits for what was leased before it condemned
	if err != nil {
		return nil, err
	}
	w, err := r.newWriter(held, o)
	if err != nil {
		return nil, errors.Join(err, held.release(ctx))
	}
	return w, nil
}

func (r *Repository) newWriter(held *lease, o WriterOptions) (*Writer, error) {
	ctx := held.ctx
	condemned, err := r.condemned(ctx)
	if err != nil {
		return nil, err
	}
	loaded, err := r.loadIndex(ctx, condemned)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		r: r, o: o, lease: held, index: loaded.index, used: map[uint32]struct{}{}, keyer: hints.NewKeyer(r.keys), cutters: map[int]*chunk.Cutter{},
		pending: make(chan *item, pendingItems), work: make(chan *item, pendingItems),
		budget: semaphore.NewWeighted(bytesInFlight), large: make(chan struct{}, max(1, r.concurrency/4)),
	}
	for _, d := range loaded.damaged {
		w.warnings = append(w.warnings, fmt.Sprintf("%v; what it lists is stored again when needed", d))
	}
	if w.known, err = w.loadHints(ctx); err != nil {
		return nil, err
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	if err := w.start(); err != nil {
		w.cancel(err)
		return nil, err
	}
	return w, nil
}

func (w *Writer) start() error {
	for average := w.r.config.Chunking.Average; average <= chunk.MaxChunk/2; average *= 2 {
		w.cutters[average] = w.r.keys.NewCutter(chunk.SizesOf(average))
	}
	workers := min(w.r.concurrency, maxWorkers)
	w.jobs = make(chan job, 2*workers)
	w.packer = newPacker(w.r.data, w.newPack, w.place)
	w.uploader = &uploader{r: w.r, finish: w.finishPack, stored: &w.stored, lease: w.lease}
	w.seq = newSequencer(w)
	for range workers {
		encoder, err := frame.NewEncoder(frame.Level(w.o.Compression))
		if err != nil {
			return err
		}
		w.workers.Go(func() { w.compress(encoder) })
	}
	for range max(2, min(w.r.concurrency, maxReaders)) {
		w.readers.Go(func() { w.readItems() })
	}
	for range packBuffers - 1 {
		w.uploaders.Go(func() { w.upload() })
	}
	w.sequencing.Go(func() { w.seq.run() })
	return nil
}

// Add takes one entry. It may return before the content was read and blocks when enough is under way.
func (w *Writer) Add(ctx context.Context, e manifest.Entry, c Content) error {
	if err := w.err(); err != nil {
		return err
	}
	it := &item{entry: e, content: c, done: make(chan struct{})}
	if len(c.Fingerprint) > 0 {
		it.path, it.print = w.keyer.Path(e.Path), w.keyer.Fingerprint(c.Fingerprint)
	}
	ready := c.Open == nil || w.recognise(it)
	if ready {
		close(it.done)
	}
	if err := w.send(ctx, w.pending, it); err != nil || ready {
		return err
	}
	if err := w.send(ctx, w.work, it); err != nil {
		w.fail(err) // the sequencer waits for this entry, which nobody will read
		close(it.done)
		return err
	}
	return nil
}

// Flush waits until the content of every entry added so far was read and its packs are stored.
func (w *Writer) Flush(ctx context.Context) error {
	it := &item{barrier: true, done: make(chan struct{})}
	if err := w.send(ctx, w.pending, it); err != nil {
		return err
	}
	select {
	case <-it.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ctx.Done():
		return w.err()
	}
	w.inFlight.Wait()
	if err := w.packer.finish(); err != nil {
		w.fail(err)
	}
	return w.err()
}

// Err is the first error, nil while all is well. It does not wait.
func (w *Writer) Err() error { return w.err() }

// Stats tells how far the writer is.
func (w *Writer) Stats() WriterStats {
	return WriterStats{Items: w.items.Load(), Bytes: w.bytes.Load(), Stored: w.stored.Load(), Reused: w.reused.Load()}
}

// Abort gives the restore point up and waits until nothing is under way. It does nothing after Commit, and may be called
// twice. Packs that were stored stay and are used by the next backup.
func (w *Writer) Abort() {
	w.cancel(errAborted)
	w.drain()
	_ = w.lease.release(w.lease.ctx) // it ends by itself
}

var errAborted = errors.New("the backup was given up")

// drain ends the stages one after the other. With the context ended each stage drops what it gets.
func (w *Writer) drain() {
	if w.closed {
		return
	}
	w.closed = true
	close(w.pending)
	close(w.work)
	w.readers.Wait()
	w.sequencing.Wait()
	close(w.jobs)
	w.workers.Wait()
	if w.err() == nil {
		if err := w.packer.finish(); err != nil {
			w.fail(err)
		}
	}
	close(w.packer.full)
	w.uploaders.Wait()
}

func (w *Writer) fail(err error) { w.cancel(err) }

// err returns the first error of any stage.
func (w *Writer) err() error {
	if w.ctx.Err() == nil {
		return nil
	}
	return context.Cause(w.ctx)
}

func (w *Writer) send(ctx context.Context, to chan<- *item, it *item) error {
	select {
	case to <- it:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ctx.Done():
		return w.err()
	}
}

func (w *Writer) progress() {
	if w.o.Progress == nil {
		return
	}
	now, last := time.Now().UnixNano(), w.lastProgress.Load()
	if now-last < int64(progressEvery) || !w.lastProgress.CompareAndSwap(last, now) {
		return
	}
	if w.progressMu.TryLock() {
		w.o.Progress(w.Stats())
		w.progressMu.Unlock()
	}
}
