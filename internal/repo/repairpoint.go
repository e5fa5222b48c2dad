package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// mended are the documents that a point will have. What need not be written is nil.
type mended struct {
	summary, manifest []byte
	packs             []index.PackID
}

// documents finds a summary and a manifest that belong together: first such as the caller knows them, of here before the good
// copy's, then what the good copy has now. Without any, the summary may still be made of the manifest later.
func (m *mender) documents(ctx context.Context) (mended, error) {
	sname, mname := summaryName(m.check.Address, m.check.ID), manifestName(m.check.Address, m.check.ID)
	summaries, manifests := make([][]byte, 2), make([][]byte, 2)
	for i, r := range []*Repository{m.r, m.from} {
		if i == 1 && !m.sharesKeys() {
			break
		}
		var err error
		if summaries[i], err = m.get(ctx, r, sname); err != nil {
			return mended{}, err
		}
		if manifests[i], err = m.get(ctx, r, mname); err != nil {
			return mended{}, err
		}
	}
	exact := m.check
	sameManifest := PointCheck{Address: exact.Address, ID: exact.ID, ManifestSHA: exact.ManifestSHA}
	anything := PointCheck{Address: exact.Address, ID: exact.ID}
	type attempt struct {
		summary, manifest int // 0 here, 1 in the good copy
		want              PointCheck
	}
	tries := []attempt{{0, 0, exact}, {1, 0, exact}, {0, 1, exact}, {1, 1, exact}, {1, 0, sameManifest}, {1, 1, sameManifest}, {1, 1, anything}}
	if m.adopt { // what the exact ones need is not to be had
		tries = tries[4:]
	}
	for _, try := range tries {
		s, packs, ok := m.match(sname, summaries[try.summary], manifests[try.manifest], try.want)
		if !ok {
			continue
		}
		out := mended{packs: packs}
		if try.summary == 1 && !bytes.Equal(summaries[0], summaries[1]) {
			out.summary = summaries[1]
		}
		if try.manifest == 1 && !bytes.Equal(manifests[0], manifests[1]) {
			out.manifest = manifests[1]
		}
		if sum := hashOf(summaries[try.summary]); try.want != exact {
			m.changed(Receipt{Manifest: s.ManifestSHA256, Summary: sum, Size: s.Size, Items: s.Items, Stored: s.Stored})
		}
		return out, nil
	}
	return mended{}, nil
}

// match tells whether a summary and a manifest belong together and are what is wanted.
func (m *mender) match(name string, summary, document []byte, want PointCheck) (s manifest.Summary, packs []index.PackID, ok bool) {
	if summary == nil || document == nil || want.SummarySHA != "" && hashOf(summary) != want.SummarySHA {
		return s, nil, false
	}
	s, err := m.r.decodeSummary(name, want.Address, want.ID, summary)
	if err != nil {
		return s, nil, false
	}
	sum := hashOf(document)
	if packs, err = packsOf(name, s); err != nil || sum != s.ManifestSHA256 || want.ManifestSHA != "" && sum != want.ManifestSHA {
		return s, nil, false
	}
	return s, packs, true
}

// write puts the documents in their place. Where both are replaced the manifest comes first: a point can be read without a
// summary, but not with that of another manifest.
func (m *mender) write(ctx context.Context, docs mended) error {
	if docs.summary == nil && docs.manifest == nil {
		return nil
	}
	sname, mname := summaryName(m.check.Address, m.check.ID), manifestName(m.check.Address, m.check.ID)
	put := func(name string, data []byte) error {
		if data == nil {
			return nil
		}
		if err := putVerified(ctx, m.r.bucket, name, data); err != nil {
			return err
		}
		m.replaced(name)
		return nil
	}
	if err := m.lease.stillNeeds(ctx, docs.packs); err != nil {
		return err
	}
	if docs.summary == nil {
		return put(mname, docs.manifest)
	}
	if docs.manifest != nil {
		if err := m.r.bucket.Delete(ctx, sname); err != nil {
			return fmt.Errorf("delete damaged summary: %w", err)
		}
		if err := put(mname, docs.manifest); err != nil {
			return err
		}
	}
	return put(sname, docs.summary)
}

// changed notes that the point is stored as something else now.
func (m *mender) changed(receipt Receipt) {
	m.report.Receipt = receipt
	m.check.ManifestSHA, m.check.SummarySHA = receipt.Manifest, receipt.Summary
}

// anew seals the point anew from the good copy, in the place of the damaged one, when nothing else helped.
func (m *mender) anew(ctx context.Context) error {
	needed := slices.ContainsFunc(m.report.Left, func(d Damage) bool { return len(d.Points) > 0 })
	if !needed || m.from == nil || !m.from.CanRead() || m.from.needRead() != nil {
		return nil
	}
	want := PointCheck{Address: m.check.Address, ID: m.check.ID}
	before := m.report.Bytes
	receipt, err := NewCopier(m.r, m.from).rewrite(ctx, want, CopyOptions{
		Compression: m.o.Compression, Progress: func(bytes, _ int64) { m.o.Progress(before + bytes) },
	}, true)
	if isDamage(err) {
		m.report.Left = append(m.report.Left, Damage{
			Object: manifestName(want.Address, want.ID), Problem: fmt.Sprintf("the other copy does not help: %v", err), Points: []string{want.Address + "/" + want.ID},
		})
		return nil
	}
	if err != nil {
		return err
	}
	m.report.Bytes = before + receipt.Size
	m.changed(receipt)
	m.replaced(manifestName(want.Address, want.ID))
	m.replaced(summaryName(want.Address, want.ID))
	m.report.Left, err = m.look(ctx)
	return err
}

// resummarize writes the summary anew from the manifest, when every chunk of the point has a place: the point may need other
// packs than its summary says, because what was set aside is stored again. It takes a reading key.
func (m *mender) resummarize(ctx context.Context) (bool, error) {
	if !m.r.CanRead() {
		return false, nil
	}
	name := summaryName(m.check.Address, m.check.ID)
	document, err := m.get(ctx, m.r, manifestName(m.check.Address, m.check.ID))
	if err != nil || document == nil || m.check.ManifestSHA != "" && hashOf(document) != m.check.ManifestSHA {
		return false, err
	}
	rd, err := m.r.openDocument(ctx, m.check, document)
	if isDamage(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	packs, whole, err := rd.packs(ctx)
	if err != nil || !whole {
		return false, err
	}
	slices.Sort(packs)
	s := rd.summary
	if raw, err := m.get(ctx, m.r, name); err != nil {
		return false, err
	} else if raw != nil && (m.check.SummarySHA == "" || hashOf(raw) == m.check.SummarySHA) && slices.Equal(s.Packs, packs) {
		return false, nil
	}
	s.Packs, s.Sealed = packs, "" // whom other packs are sealed to is not known
	plain, err := s.Encode()
	if err != nil {
		return false, fmt.Errorf("encode summary: %w", err)
	}
	sealed, err := m.r.sealMetadata(plain)
	if err != nil {
		return false, fmt.Errorf("encode summary: %w", err)
	}
	needed, err := packsOf(name, s)
	if err == nil {
		err = m.r.claim(ctx, m.lease, needed)
	}
	if err == nil {
		err = putVerified(ctx, m.r.bucket, name, sealed)
	}
	if err != nil {
		return false, err
	}
	m.changed(Receipt{Manifest: s.ManifestSHA256, Summary: hashOf(sealed), Size: s.Size, Items: s.Items, Stored: s.Stored})
	m.replaced(name)
	return true, nil
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
