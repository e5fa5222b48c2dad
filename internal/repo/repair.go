package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// RepairOptions say how to repair.
type RepairOptions struct {
	Compression string
	Progress    func(bytes int64) // read so far; may be nil
}

// RepairReport tells what a repair did.
type RepairReport struct {
	Replaced []string // objects that hold again what was stored
	SetAside []string // packs that were damaged beyond repair, now under quarantine/, or absent
	Receipt  Receipt  // what the point is stored as now; zero when that did not change
	Bytes    int64    // read
	Left     []Damage // what is damaged still
}

// RepairPoint looks at every stored byte that a point needs and replaces what is damaged or missing from a repository with
// a good copy; nil when there is none. Where that does not help, damaged packs are set aside: no later backup builds on
// them, and the next one stores their content again, which heals older points too.
//
// Errors: KeyError, ErrLeaseLost, those of the buckets. Damage that stays is no error: it is in the report.
func (r *Repository) RepairPoint(ctx context.Context, from *Repository, c PointCheck, o RepairOptions) (RepairReport, error) {
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	found, err := r.VerifyStored(ctx, VerifyOptions{Points: []PointCheck{c}, Progress: func(p VerifyProgress) { o.Progress(p.Bytes) }})
	if err != nil {
		return RepairReport{}, err
	}
	report := RepairReport{Bytes: found.Bytes}
	if len(found.Damaged) == 0 {
		return report, nil
	}
	held, err := r.writerLease(ctx)
	if err != nil {
		return report, err
	}
	m := &mender{r: r, from: from, check: c, o: o, report: &report}
	err = m.run(held.ctx, found.Damaged)
	return report, errors.Join(err, held.release(ctx))
}

// mender is one repair at work.
type mender struct {
	r, from *Repository
	check   PointCheck
	o       RepairOptions
	report  *RepairReport
}

func (m *mender) run(ctx context.Context, damage []Damage) error {
	var hopeless []Damage
	for _, d := range damage {
		done, err := m.replace(ctx, d.Object)
		if err != nil {
			return err
		}
		if !done {
			hopeless = append(hopeless, d)
		}
	}
	if len(hopeless) > 0 {
		if err := m.setAside(ctx, hopeless); err != nil {
			return err
		}
	}
	if err := m.reindex(ctx); err != nil {
		return err
	}
	left, err := m.look(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 && m.from != nil && m.from.Family() != m.r.Family() && m.r.CanWrite() && m.from.CanRead() {
		if err := m.rewrite(ctx); err != nil {
			return err
		}
		left, err = m.look(ctx)
	} else if len(left) > 0 && m.r.CanRead() {
		if err := m.resummarize(ctx); err != nil {
			return err
		}
		left, err = m.look(ctx)
	}
	m.report.Left = left
	return err
}

// look verifies the point again, by what its hashes are now.
func (m *mender) look(ctx context.Context) ([]Damage, error) {
	found, err := m.r.VerifyStored(ctx, VerifyOptions{Points: []PointCheck{m.check}})
	m.report.Bytes += found.Bytes
	return found.Damaged, err
}

// replace brings an object over as stored, when the good copy has it with the bytes that it should have.
func (m *mender) replace(ctx context.Context, name string) (bool, error) {
	if m.from == nil || m.from.Family() != m.r.Family() {
		return false, nil
	}
	want := ""
	switch id, isPack := parsePackName(name); {
	case isPack:
		want = id.String()
	case name == manifestName(m.check.Address, m.check.ID):
		want = m.check.ManifestSHA
	case name == summaryName(m.check.Address, m.check.ID):
		want = m.check.SummarySHA
	default:
		return false, nil
	}
	raw, err := m.from.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the good copy of %s: %w", name, err)
	}
	m.report.Bytes += int64(len(raw))
	if want != "" && hashOf(raw) != want {
		return false, nil
	}
	if err := putVerified(ctx, m.r.bucket, name, raw); err != nil {
		return false, err
	}
	m.report.Replaced = append(m.report.Replaced, name)
	return true, nil
}

// setAside moves damaged packs out of the way: first a copy under quarantine/, for people, then the index, then the pack.
func (m *mender) setAside(ctx context.Context, damage []Damage) error {
	var gone []index.PackID
	for _, d := range damage {
		id, isPack := parsePackName(d.Object)
		if !isPack {
			continue
		}
		raw, err := m.r.bucket.Get(ctx, d.Object)
		if err != nil && !errors.Is(err, blob.ErrNotFound) {
			return fmt.Errorf("read damaged %s: %w", d.Object, err)
		}
		if err == nil && hashOf(raw) == id.String() {
			continue // the pack is whole: only its index is not
		}
		if err == nil {
			if err := putVerified(ctx, m.r.bucket, quarantinePrefix+id.String(), raw); err != nil {
				return err
			}
		}
		gone = append(gone, id)
	}
	if len(gone) == 0 {
		return nil
	}
	if m.r.CanWrite() {
		if err := m.unindex(ctx, gone); err != nil {
			return err
		}
	}
	for _, id := range gone {
		if err := m.r.bucket.Delete(ctx, packName(id.String())); err != nil {
			return fmt.Errorf("set %s aside: %w", packName(id.String()), err)
		}
		m.report.SetAside = append(m.report.SetAside, packName(id.String()))
	}
	return nil
}

func (m *mender) unindex(ctx context.Context, gone []index.PackID) error {
	p := &pruner{r: m.r, packs: map[index.PackID]blob.Info{}}
	err := m.r.bucket.List(ctx, "", func(i blob.Info) error {
		if id, ok := parsePackName(i.Name); ok {
			p.packs[id] = i
		} else if strings.HasPrefix(i.Name, indexPrefix) {
			p.other = append(p.other, i)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the store: %w", err)
	}
	return p.unindex(ctx, gone)
}

// reindex lists packs again that only a damaged index listed: from the good copy's indexes, or from the packs themselves.
func (m *mender) reindex(ctx context.Context) error {
	if !m.r.CanWrite() {
		return nil
	}
	loaded, err := m.r.loadIndex(ctx, nil)
	if err != nil {
		return err
	}
	if m.r.CanRead() {
		rebuilt, err := m.r.RebuildIndex(ctx)
		m.report.Replaced = append(m.report.Replaced, rebuilt.Replaced...)
		return err
	}
	if m.from == nil || m.from.Family() != m.r.Family() || !m.from.CanWrite() {
		return nil
	}
	var unlisted []index.PackID
	for _, id := range sortedPacks(loaded.stored) {
		if !loaded.index.HasPack(id) {
			unlisted = append(unlisted, id)
		}
	}
	c := NewCopier(m.r, m.from)
	c.listed = map[index.PackID]bool{}
	var stored atomic.Int64
	for _, id := range unlisted {
		if err := c.index(ctx, []index.PackID{id}, &stored); err != nil {
			if isDamage(err) {
				return nil // the good copy does not know it either: the damaged index stays, for a host with a key
			}
			return err
		}
	}
	for _, d := range loaded.damaged {
		if err := m.r.bucket.Delete(ctx, d.Object); err != nil {
			return fmt.Errorf("delete damaged index: %w", err)
		}
		m.report.Replaced = append(m.report.Replaced, d.Object)
	}
	return nil
}

// rewrite seals the point anew from the good copy, in the place of the damaged one.
func (m *mender) rewrite(ctx context.Context) error {
	s, err := m.from.Summary(ctx, m.check.Address, m.check.ID)
	if err != nil {
		return err
	}
	receipt, err := NewCopier(m.r, m.from).rewrite(ctx, s, CopyOptions{Compression: m.o.Compression, Progress: func(b, _ int64) { m.o.Progress(b) }}, true)
	if err != nil {
		return err
	}
	m.changed(receipt)
	m.report.Replaced = append(m.report.Replaced, manifestName(m.check.Address, m.check.ID), summaryName(m.check.Address, m.check.ID))
	return nil
}

func (m *mender) changed(receipt Receipt) {
	m.report.Receipt = receipt
	m.check.ManifestSHA, m.check.SummarySHA = receipt.Manifest, receipt.Summary
}

// resummarize writes the summary anew from the manifest, when every chunk of the point has a place: after a backup stored
// again what was set aside, the point needs other packs than its summary says.
func (m *mender) resummarize(ctx context.Context) error {
	rd, err := m.r.OpenPoint(ctx, m.check.Address, m.check.ID)
	if isDamage(err) {
		return nil
	}
	if err != nil {
		return err
	}
	packs, whole, err := rd.packs(ctx)
	if err != nil || !whole {
		return err
	}
	s := rd.summary
	slices.Sort(packs)
	if slices.Equal(s.Packs, packs) {
		return nil
	}
	s.Packs = packs
	plain, err := s.Encode()
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	sealed, err := m.r.sealMetadata(plain)
	if err != nil {
		return fmt.Errorf("encode summary: %w", err)
	}
	name := summaryName(m.check.Address, m.check.ID)
	if err := putVerified(ctx, m.r.bucket, name, sealed); err != nil {
		return err
	}
	m.changed(Receipt{Manifest: s.ManifestSHA256, Summary: hashOf(sealed), Size: s.Size, Items: s.Items, Stored: s.Stored})
	m.report.Replaced = append(m.report.Replaced, name)
	return nil
}

// packs returns the packs that hold the point's chunks; whole is false when some chunk is nowhere.
func (rd *Reader) packs(ctx context.Context) (names []string, whole bool, err error) {
	used := map[uint32]bool{}
	note := func(refs []manifest.Ref) bool {
		for _, ref := range refs {
			loc, ok := rd.src.loaded.index.Lookup(ref.ID)
			if !ok {
				return false
			}
			used[loc.Pack] = true
		}
		return true
	}
	list := manifest.NewDecoder(strings.NewReader(string(rd.body)))
	for rd.header.Entries != manifest.EntriesInline { // the entry list is in chunks itself
		line, err := list.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, damaged(rd.name, "%v", err)
		}
		if !note(line.Refs) {
			return nil, false, nil
		}
	}
	lines, done := rd.lines(ctx)
	defer done()
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if isDamage(err) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		if !note(line.Refs) {
			return nil, false, nil
		}
	}
	for n := range used {
		info := rd.src.loaded.index.Pack(n)
		if size, ok := rd.src.loaded.stored[info.ID]; !ok || size != info.Size {
			return nil, false, nil
		}
		names = append(names, info.ID.String())
	}
	return names, true, nil
}
