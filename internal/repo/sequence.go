package repo

import (
	"fmt"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/hints"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// inlineEntries is up to how many bytes entry lines stay inside the manifest; more become chunks, so that manifests of
// millions of files share what did not change, and memory stays bounded.
const inlineEntries = 1 << 20

// sequencer brings finished items into the order of Add and writes them into the entry list and the hints.
type sequencer struct {
	w      *Writer
	hasher chunk.Hasher
	cutter *chunk.Cutter

	lines []byte         // not yet cut
	refs  []manifest.Ref // of the chunks cut so far; empty while the list is inline
	items int64
	size  int64

	part   []byte // of the hints, being filled
	parts  int
	closed bool // the hints are full: entries beyond are read again next time
}

func newSequencer(w *Writer) *sequencer {
	return &sequencer{w: w, hasher: w.r.keys.NewHasher(), cutter: w.cutters[w.r.config.Chunking.Average], part: hints.Begin()}
}

func (s *sequencer) run() {
	for it := range s.w.pending {
		if it.barrier {
			close(it.done)
			continue
		}
		<-it.done
		if s.w.err() != nil || it.skipped {
			continue
		}
		if err := s.add(it); err != nil {
			s.w.fail(err)
		}
	}
}

func (s *sequencer) add(it *item) error {
	var err error
	if s.lines, err = manifest.AppendEntry(s.lines, it.entry, it.refs); err != nil {
		return err
	}
	s.items++
	s.size += it.entry.Size
	s.w.items.Add(1)
	if err := s.hint(it); err != nil {
		return err
	}
	if len(s.refs) == 0 && len(s.lines) <= inlineEntries {
		return nil
	}
	return s.cut(s.cutter.Sizes().Max)
}

// cut stores lines as chunks while more than keep bytes are left.
func (s *sequencer) cut(keep int) error {
	done := 0
	for len(s.lines)-done > keep {
		n := s.cutter.Cut(s.lines[done:])
		ref, _, err := s.w.store(s.hasher, s.lines[done:done+n])
		if err != nil {
			return fmt.Errorf("store entry list: %w", err)
		}
		s.refs = append(s.refs, ref)
		done += n
	}
	s.lines = append(s.lines[:0], s.lines[done:]...)
	return nil
}

// hint notes an item's content for the next backup.
func (s *sequencer) hint(it *item) error {
	if len(it.content.Fingerprint) == 0 || s.closed {
		return nil
	}
	s.part = hints.Append(s.part, it.path, it.print, it.refs)
	if len(s.part) < hints.PartSize {
		return nil
	}
	return s.endPart()
}

// endPart stores the part that is being filled, if it holds anything.
func (s *sequencer) endPart() error {
	if s.closed || len(s.part) <= len(hints.Begin()) {
		return nil
	}
	sealed, err := s.w.r.sealMetadata(s.part)
	if err != nil {
		return fmt.Errorf("encode hints: %w", err)
	}
	name := hintsName(s.w.o.Address, s.w.o.Point, s.parts)
	if err := s.w.r.bucket.Put(s.w.ctx, name, sealed); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	s.w.stored.Add(int64(len(sealed)))
	s.parts++
	s.part = hints.Begin()
	s.closed = s.parts == hints.MaxParts
	return nil
}

// body returns what follows the header: the entry lines, or lines of references to their chunks.
func (s *sequencer) body() (where string, lines []byte, err error) {
	if len(s.refs) == 0 {
		return manifest.EntriesInline, s.lines, nil
	}
	lines, err = manifest.AppendRefs(nil, s.refs)
	return manifest.EntriesChunks, lines, err
}
