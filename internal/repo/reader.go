package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
)

// Reader gives one restore point back. Every byte it hands out was checked against its chunk id. Safe for concurrent use.
type Reader struct {
	name    string // of the manifest object
	header  manifest.Header
	summary manifest.Summary
	body    []byte // the manifest's lines after the header
	src     *source
	notes   []error // what is wrong with the summary or an index, without being in the way
}

// OpenPoint opens a restore point for reading. When index objects are missing or damaged it reads the directories of the
// packs instead.
//
// Errors: ErrNoPoint, KeyError, DamagedError, those of the bucket.
func (r *Repository) OpenPoint(ctx context.Context, address, id string) (*Reader, error) {
	if err := r.needRead(); err != nil {
		return nil, err
	}
	rd := &Reader{name: manifestName(address, id)}
	raw, err := r.bucket.Get(ctx, rd.name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, fmt.Errorf("open point %s of %s: %w", id, address, ErrNoPoint)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if err := rd.open(ctx, r, address, id, raw, false); err != nil {
		return nil, err
	}
	return rd, nil
}

// openDocument opens a point whose manifest is known to be the right one: no summary contradicts it.
func (r *Repository) openDocument(ctx context.Context, c PointCheck, raw []byte) (*Reader, error) {
	rd := &Reader{name: manifestName(c.Address, c.ID)}
	return rd, rd.open(ctx, r, c.Address, c.ID, raw, true)
}

func (rd *Reader) open(ctx context.Context, r *Repository, address, id string, raw []byte, sure bool) error {
	err := rd.decode(r, address, id, raw)
	if err != nil && r.sealedToOthers(ctx, address, id, raw) {
		return &OtherKeyError{Object: rd.name}
	}
	if err != nil {
		return err
	}
	rd.summary, err = r.Summary(ctx, address, id)
	switch other := !rd.summary.Names(hashOf(raw)); {
	case err == nil && other && sure:
		rd.summary = rd.standIn(raw)
	case err != nil && isDamage(err):
		rd.notes = append(rd.notes, err)
		rd.summary = rd.standIn(raw)
	case err != nil:
		return err
	case other:
		return damaged(rd.name, "it is not the manifest that the summary names (%s)", rd.summary.ManifestSHA256)
	}
	decoder, err := frame.NewDecoder()
	if err != nil {
		return err
	}
	condemned, err := r.condemned(ctx)
	if err != nil {
		return err
	}
	loaded, err := r.loadIndex(ctx, condemned)
	if err != nil {
		return err
	}
	for _, p := range loaded.aside {
		loaded.index.Add(p) // last: chunks are read from packs that stay, where there is a choice
	}
	rd.src = &source{r: r, loaded: loaded, packs: newPackReader(r), decoder: decoder, absent: rd.absent}
	return rd.completeIndex(ctx)
}

// isDamage tells problems of an object from problems of reaching it.
func isDamage(err error) bool {
	var d *DamagedError
	return errors.As(err, &d) || errors.Is(err, ErrNoPoint)
}

// sealedToOthers tells an intact manifest that no key at hand opens from a damaged one.
func (r *Repository) sealedToOthers(ctx context.Context, address, id string, raw []byte) bool {
	if _, err := r.data.Open(raw); !errors.Is(err, seal.ErrNoIdentity) {
		return false
	}
	s, err := r.Summary(ctx, address, id)
	return err == nil && s.Names(hashOf(raw))
}

func (rd *Reader) decode(r *Repository, address, id string, raw []byte) error {
	packed, err := r.data.Open(raw)
	if err != nil {
		return damaged(rd.name, "%v", err)
	}
	plain, err := frame.Unpack(packed, maxMetadata)
	if err != nil {
		return damaged(rd.name, "%v", err)
	}
	head, body, _ := bytes.Cut(plain, []byte("\n"))
	if rd.header, err = manifest.NewDecoder(bytes.NewReader(head)).Header(); err != nil {
		return damaged(rd.name, "%v", err)
	}
	if h := rd.header; h.Repository != r.config.family() || h.Address != address || h.Point != id {
		return damaged(rd.name, "it is the manifest of point %s of %s in repository %s", h.Point, h.Address, h.Repository)
	}
	rd.body = body
	return nil
}

// standIn makes a summary out of the manifest where the real one cannot be read. It lists no packs.
func (rd *Reader) standIn(raw []byte) manifest.Summary {
	return manifest.Summary{
		Format: manifest.SummaryFormat, FormatVersion: manifest.SummaryVersion, Address: rd.header.Address, Point: rd.header.Point,
		Items: rd.header.Items, Size: rd.header.Size, ManifestSHA256: hashOf(raw), ManifestSize: int64(len(raw)), Info: rd.header.Info,
	}
}

// completeIndex adds packs that no readable index lists, from their own directories, and packs that are broken, so that
// reading them names them.
func (rd *Reader) completeIndex(ctx context.Context) error {
	loaded := rd.src.loaded
	for _, d := range loaded.damaged {
		rd.notes = append(rd.notes, d)
	}
	broken := map[index.PackID]bool{}
	for _, p := range loaded.broken {
		broken[p.ID] = true
	}
	needed := rd.summary.Packs
	if len(needed) == 0 {
		for id := range loaded.stored {
			needed = append(needed, id.String())
		}
	}
	for _, sum := range needed {
		id, ok := parsePackID(sum)
		if !ok || loaded.index.HasPack(id) || broken[id] {
			continue
		}
		size, ok := loaded.stored[id]
		if !ok {
			rd.notes = append(rd.notes, damaged(packName(sum), "it is missing from the store"))
			continue
		}
		records, err := rd.src.packs.directory(ctx, index.PackInfo{ID: id, Size: size})
		if err != nil && !isDamage(err) {
			return err
		}
		if err != nil {
			rd.notes = append(rd.notes, err)
			continue
		}
		loaded.index.Add(index.Pack{ID: id, Size: size, Records: records})
	}
	for _, p := range loaded.broken {
		loaded.index.Add(p)
	}
	return nil
}

// absent says why a chunk cannot be found.
func (rd *Reader) absent(ref manifest.Ref) error {
	for _, err := range rd.notes {
		var d *DamagedError
		if errors.As(err, &d) && d.Object != summaryName(rd.header.Address, rd.header.Point) {
			return damaged(d.Object, "%s (chunk %s is found nowhere else)", d.Problem, ref.ID)
		}
	}
	return damaged(rd.name, "it refers to chunk %s, which is in no pack", ref.ID)
}

// Summary returns the point's summary.
func (rd *Reader) Summary() manifest.Summary { return rd.summary }

// Header returns the manifest's header.
func (rd *Reader) Header() manifest.Header { return rd.header }

// Notes tells what is wrong with the point's metadata without being in the way of reading it.
func (rd *Reader) Notes() []error { return rd.notes }

// Entries calls each for every entry in order, without reading content.
func (rd *Reader) Entries(ctx context.Context, each func(manifest.Entry) error) error {
	lines, done := rd.lines(ctx)
	defer done()
	var items int64
	for {
		l, err := lines.next()
		if errors.Is(err, io.EOF) {
			return rd.checkItems(items)
		}
		if err != nil {
			return err
		}
		if l.Entry == nil {
			continue
		}
		items++
		if err := each(*l.Entry); err != nil {
			return err
		}
	}
}

// Read calls each in order for every entry that want accepts (nil accepts all). The reader holds the entry's content, is
// valid during the call only and need not be read to its end.
func (rd *Reader) Read(ctx context.Context, want func(manifest.Entry) bool, each func(manifest.Entry, io.Reader) error) error {
	lines, done := rd.lines(ctx)
	defer done()
	st := rd.src.stream(ctx, rd.feed(lines, want))
	defer st.close()
	c := &cursor{ctx: ctx, st: st}
	for {
		entry, err := c.entry()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		content := &content{c: c, entry: entry}
		if err := each(*entry, content); err != nil {
			return err
		}
		if content.err != nil {
			return content.err // each was told, and must not make a success of it
		}
	}
}

func (rd *Reader) checkItems(got int64) error {
	if got != rd.header.Items {
		return damaged(rd.name, "it lists %d entries and says %d", got, rd.header.Items)
	}
	return nil
}

// feed turns lines into what a stream fetches.
func (rd *Reader) feed(lines *lineReader, want func(manifest.Entry) bool) feed {
	var queue []manifest.Ref
	var items, left int64
	wanted := false
	return func() (*manifest.Entry, manifest.Ref, error) {
		for len(queue) == 0 {
			l, err := lines.next()
			if err == nil && l.Entry == nil && items == 0 {
				err = damaged(rd.name, "it begins with references instead of an entry")
			}
			if (l.Entry != nil || errors.Is(err, io.EOF)) && wanted && left != 0 {
				err = damaged(rd.name, "an entry's size and its chunks differ by %d bytes", left)
			}
			if errors.Is(err, io.EOF) {
				if cerr := rd.checkItems(items); cerr != nil {
					err = cerr
				}
			}
			if err != nil {
				return nil, manifest.Ref{}, err
			}
			if l.Entry != nil {
				items++
				left = l.Entry.Size
				wanted = want == nil || want(*l.Entry)
			}
			if !wanted {
				continue
			}
			queue = l.Refs
			for _, ref := range l.Refs {
				left -= int64(ref.Size)
			}
			if l.Entry != nil {
				return l.Entry, manifest.Ref{}, nil
			}
		}
		ref := queue[0]
		queue = queue[1:]
		return nil, ref, nil
	}
}
