package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// Receipt is the proof of a finished restore point.
type Receipt struct {
	Manifest, Summary   string // SHA-256 of the stored objects, in hex
	Size, Stored, Items int64  // plain bytes, bytes added to the store, entries
	Warnings            []string
}

// Commit finishes the restore point: it waits for all content, then writes index, summary and manifest in this order, each
// read back. The point exists exactly when Commit returns nil, or when it failed on reading the manifest back.
func (w *Writer) Commit(ctx context.Context, info manifest.Info) (Receipt, error) {
	if w.closed {
		return Receipt{}, errors.Join(errors.New("the writer was ended before"), w.err())
	}
	stop := context.AfterFunc(ctx, func() { w.cancel(context.Cause(ctx)) })
	defer stop()
	if err := w.finishLists(ctx); err != nil {
		w.fail(err)
	}
	w.drain()
	if err := w.err(); err != nil {
		return Receipt{}, err
	}
	receipt, err := w.writePoint(ctx, info)
	if err != nil {
		w.fail(err)
		return Receipt{}, err
	}
	if err := w.lease.release(ctx); err != nil {
		receipt.Warnings = append(receipt.Warnings, err.Error())
	}
	if w.o.Progress != nil {
		w.progressMu.Lock()
		defer w.progressMu.Unlock()
		w.o.Progress(w.Stats())
	}
	w.cancel(nil)
	return receipt, nil
}

// finishLists waits until every entry is in the list and stores the rest of it, when it is kept in chunks.
func (w *Writer) finishLists(ctx context.Context) error {
	it := &item{barrier: true, done: make(chan struct{})}
	if err := w.send(ctx, w.pending, it); err != nil {
		return err
	}
	select {
	case <-it.done: // the sequencer is idle now, and nobody sends to it
	case <-w.ctx.Done():
		return w.err()
	}
	if len(w.seq.refs) > 0 {
		if err := w.seq.cut(0); err != nil {
			return err
		}
	}
	return w.seq.endPart()
}

func (w *Writer) writePoint(ctx context.Context, info manifest.Info) (Receipt, error) {
	if err := w.uploader.flush(ctx); err != nil {
		return Receipt{}, err
	}
	stored, err := w.encodeManifest(info)
	if err != nil {
		return Receipt{}, err
	}
	w.stored.Add(int64(len(stored)))
	s := manifest.Summary{
		Address: w.o.Address, Point: w.o.Point, Items: w.seq.items, Size: w.seq.size, Stored: w.stored.Load(), Reused: w.reused.Load(),
		ManifestSHA256: hashOf(stored), ManifestSize: int64(len(stored)), Packs: w.packs(), Info: info,
	}
	plain, err := s.Encode()
	if err != nil {
		return Receipt{}, fmt.Errorf("encode summary: %w", err)
	}
	summary, err := w.r.sealMetadata(plain)
	if err != nil {
		return Receipt{}, fmt.Errorf("encode summary: %w", err)
	}
	used := w.usedPacks()
	if err := w.storePoint(ctx, used, summary, stored); err != nil {
		return Receipt{}, err
	}
	if err := w.lease.publish(ctx, w.o.Address, w.o.Point, used); err != nil {
		return Receipt{}, err
	}
	w.stored.Add(int64(len(summary)))
	w.dropOldHints(ctx)
	return Receipt{
		Manifest: s.ManifestSHA256, Summary: hashOf(summary), Size: s.Size, Stored: w.stored.Load(), Items: s.Items, Warnings: w.warnings,
	}, nil
}

// storePoint writes summary and manifest. A point that is replaced can be read at any moment: without a summary it can, with
// that of another manifest it could not.
func (w *Writer) storePoint(ctx context.Context, used []index.PackID, summary, document []byte) error {
	sname, mname := summaryName(w.o.Address, w.o.Point), manifestName(w.o.Address, w.o.Point)
	if w.o.replace {
		if err := w.lease.stillNeeds(ctx, used); err != nil {
			return err
		}
		if err := w.r.bucket.Delete(ctx, sname); err != nil {
			return fmt.Errorf("delete outdated summary: %w", err)
		}
		if err := putVerified(ctx, w.r.bucket, mname, document); err != nil {
			return err
		}
		return putVerified(ctx, w.r.bucket, sname, summary)
	}
	if err := putVerified(ctx, w.r.bucket, sname, summary); err != nil {
		return err
	}
	if err := w.lease.stillNeeds(ctx, used); err != nil {
		return err
	}
	return createVerified(ctx, w.r.bucket, mname, document)
}

func (w *Writer) encodeManifest(info manifest.Info) ([]byte, error) {
	where, lines, err := w.seq.body()
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	plain, err := manifest.AppendHeader(nil, manifest.Header{
		Repository: w.r.config.family(), Address: w.o.Address, Point: w.o.Point, Entries: where, Items: w.seq.items, Size: w.seq.size, Info: info,
	})
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	packed, err := frame.Pack(append(plain, lines...))
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return w.r.data.Seal(packed)
}

// packs returns the names of every pack that the point refers to.
func (w *Writer) packs() []string {
	out := []string{}
	for _, id := range w.usedPacks() {
		out = append(out, id.String())
	}
	slices.Sort(out)
	return out
}

func (w *Writer) usedPacks() []index.PackID {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]index.PackID, 0, len(w.used))
	for n := range w.used {
		out = append(out, w.index.Pack(n).ID)
	}
	return out
}

// dropOldHints deletes every hint of the address but this point's. The point exists by now: a failure only costs space.
func (w *Writer) dropOldHints(ctx context.Context) {
	var old []string
	keep := hintsFolder(w.o.Address) + escape(w.o.Point) + "/"
	err := w.r.bucket.List(ctx, hintsFolder(w.o.Address), func(i blob.Info) error {
		if len(i.Name) < len(keep) || i.Name[:len(keep)] != keep {
			old = append(old, i.Name)
		}
		return nil
	})
	for _, name := range old {
		if derr := w.r.bucket.Delete(ctx, name); derr != nil {
			err = derr
		}
	}
	if err != nil {
		w.warnings = append(w.warnings, fmt.Sprintf("delete outdated hints: %v; the next backup tries again", err))
	}
}
