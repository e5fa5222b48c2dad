package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/frame"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
	"github.com/holdfast-io/holdfast/internal/repo/pack"
)

const (
	// resealBatch is after how many packs what was done is noted, so that an interrupted reseal need not begin again.
	resealBatch = 16
	// resealWorkers is how many packs are sealed at once; each is held in memory three times.
	resealWorkers = 2

	resealFormat  = "holdfast-reseal"
	resealVersion = 1
)

// ResealOptions say how to reseal.
type ResealOptions struct {
	Progress func(done, total int64) // bytes of packs; one call at a time; may be nil
}

// ResealReport tells what a reseal did.
type ResealReport struct {
	Points []PointCheck // every point, with the hashes of its objects as they are stored now
	Packs  int64        // that were sealed anew
	Bytes  int64        // of them
	WAL    int64        // files of write-ahead log that were sealed anew
	// WALBytes are what they take in the store.
	WALBytes int64
	Damaged  []Damage // what cannot be read, and therefore stays as it is, with the points that need it
}

// Reseal seals everything that restore points need to today's recipients: packs under new names, new indexes, then summary
// and manifest of each point; and all write-ahead log. The old packs are condemned, for a prune to delete. Every point restores at every moment;
// running it again after a crash goes on where it ended. It needs a key that reads what there is.
//
// Errors: KeyError, ErrLeaseLost, those of the bucket. Damage is no error: it is in the report.
func (r *Repository) Reseal(ctx context.Context, o ResealOptions) (ResealReport, error) {
	if err := r.needRead(); err != nil {
		return ResealReport{}, err
	}
	held, err := r.writerLease(ctx)
	if err != nil {
		return ResealReport{}, err
	}
	s := &resealer{
		r: r, o: o, lease: held, want: r.config.sealedTo(), done: map[index.PackID]index.PackID{},
		points: map[[2]string]manifest.Summary{}, v: &verification{r: r, damaged: map[string]*Damage{}},
	}
	err = s.run(held.ctx)
	s.report.Damaged = s.v.report().Damaged
	return s.report, errors.Join(err, held.release(ctx))
}

// sealedTo names the recipients and the keys of metadata, for summaries to say whom their point is sealed to.
func (c Config) sealedTo() string {
	return hashOf([]byte(strings.Join(append(sortedSet(c.Recipients), c.MetadataRecipient), "\n")))
}

// resealer is one reseal at work.
type resealer struct {
	r      *Repository
	o      ResealOptions
	lease  *lease
	want   string // sealedTo
	report ResealReport
	v      *verification // gathers damage

	points map[[2]string]manifest.Summary
	stored map[index.PackID]int64
	done   map[index.PackID]index.PackID // old pack → new pack
	notes  []string                      // objects that say so

	mu           sync.Mutex
	bytes, total int64
}

func (s *resealer) run(ctx context.Context) error {
	if s.r.config.Rotation > 0 {
		if err := s.look(ctx); err != nil {
			return err
		}
		if err := s.packs(ctx); err != nil {
			return err
		}
	}
	refs, err := s.r.Points(ctx)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !ref.Manifest {
			continue
		}
		if err := s.v.damageOf(s.point(ctx, ref.Address, ref.ID), label([2]string{ref.Address, ref.ID})); err != nil {
			return err
		}
	}
	if s.r.config.Rotation > 0 {
		if err := s.wal(ctx); err != nil {
			return err
		}
	}
	if err := s.condemnOld(ctx); err != nil {
		return err
	}
	for _, name := range s.notes {
		if err := s.r.bucket.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete a note of what was sealed anew: %w", err)
		}
	}
	return nil
}

// condemnOld marks the packs that were sealed anew and that no point needs any more, so that no later backup builds on them
// and restores leave them alone. As with every mark, who needs one after all takes it off.
func (s *resealer) condemnOld(ctx context.Context) error {
	needed := map[string]bool{}
	refs, err := s.r.Points(ctx)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !ref.Manifest {
			continue
		}
		summary, _, err := s.summary(ctx, ref.Address, ref.ID)
		if isDamage(err) {
			return nil // nobody knows what that one needs
		}
		if err != nil {
			return err
		}
		for _, name := range summary.Packs {
			needed[name] = true
		}
	}
	for old := range s.done {
		size, there := s.stored[old]
		if !there || needed[old.String()] {
			continue
		}
		mark := condemnedDocument{At: s.r.clock.Now().UTC(), Who: s.r.who, Size: size}.encode()
		if err := s.r.bucket.Create(ctx, condemnedName(old), mark); err != nil && !errors.Is(err, blob.ErrExists) {
			return fmt.Errorf("condemn old pack %s: %w", old, err)
		}
	}
	return nil
}

// look learns what there is and what an earlier reseal did already.
func (s *resealer) look(ctx context.Context) error {
	refs, err := s.r.Points(ctx)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if !ref.Manifest {
			continue
		}
		summary, err := s.r.Summary(ctx, ref.Address, ref.ID)
		if isDamage(err) {
			continue // told when its turn comes
		}
		if err != nil {
			return err
		}
		s.points[[2]string{ref.Address, ref.ID}] = summary
	}
	s.stored = map[index.PackID]int64{}
	err = s.r.bucket.List(ctx, packsPrefix, func(i blob.Info) error {
		if id, ok := parsePackName(i.Name); ok {
			s.stored[id] = i.Size
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list packs: %w", err)
	}
	return s.readNotes(ctx)
}

// resealNote says which packs were sealed anew as which.
type resealNote struct {
	Format        string            `json:"format"`
	FormatVersion int               `json:"format_version"`
	Sealed        string            `json:"sealed"`
	Packs         map[string]string `json:"packs"` // old → new
}

func decodeReseal(plain []byte) (map[index.PackID]index.PackID, string, error) {
	var n resealNote
	if err := json.Unmarshal(plain, &n); err != nil {
		return nil, "", fmt.Errorf("parse note: %w", err)
	}
	if n.Format != resealFormat || n.FormatVersion != resealVersion {
		return nil, "", errors.New("parse note: not one of packs that were sealed anew")
	}
	packs := map[index.PackID]index.PackID{}
	for old, fresh := range n.Packs {
		from, ok1 := parsePackID(old)
		to, ok2 := parsePackID(fresh)
		if !ok1 || !ok2 {
			return nil, "", fmt.Errorf("parse note: %.80q and %.80q are no packs", old, fresh)
		}
		packs[from] = to
	}
	return packs, n.Sealed, nil
}

// readNotes takes over what an interrupted reseal did, as far as it is stored and not about to be pruned.
func (s *resealer) readNotes(ctx context.Context) error {
	marked, err := s.r.condemned(ctx)
	if err != nil {
		return err
	}
	err = s.r.bucket.List(ctx, resealPrefix, func(i blob.Info) error {
		if kindOf(i.Name) == kindReseal {
			s.notes = append(s.notes, i.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list notes: %w", err)
	}
	for _, name := range s.notes {
		raw, err := s.r.bucket.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		plain, err := s.r.openMetadata(name, raw)
		if err != nil {
			continue // what it noted is done again
		}
		packs, sealed, err := decodeReseal(plain)
		if err != nil || sealed != s.want {
			continue
		}
		for old, fresh := range packs {
			_, there := s.stored[fresh]
			if _, doomed := marked[fresh]; there && !doomed {
				s.done[old] = fresh
			}
		}
	}
	return nil
}

// packs seals anew what points need and is not known to be sealed to today's recipients.
func (s *resealer) packs(ctx context.Context) error {
	fine := map[index.PackID]bool{}
	for _, fresh := range s.done {
		fine[fresh] = true
	}
	needed := map[index.PackID][]string{}
	for p, summary := range s.points {
		for _, name := range summary.Packs {
			id, ok := parsePackID(name)
			if !ok {
				continue // told when the point's turn comes
			}
			if summary.Sealed == s.want && summary.ManifestBefore == "" {
				fine[id] = true
			}
			needed[id] = append(needed[id], label(p))
		}
	}
	var todo []index.PackID
	for id := range needed {
		if _, done := s.done[id]; !done && !fine[id] {
			todo = append(todo, id)
			s.total += s.stored[id]
		}
	}
	slices.SortFunc(todo, func(a, b index.PackID) int { return strings.Compare(a.String(), b.String()) })
	for batch := range slices.Chunk(todo, resealBatch) {
		if err := s.batch(ctx, batch, needed); err != nil {
			return err
		}
	}
	return nil
}

// batch seals some packs, lists them in an index, and notes them.
func (s *resealer) batch(ctx context.Context, ids []index.PackID, needed map[index.PackID][]string) error {
	note := resealNote{Format: resealFormat, FormatVersion: resealVersion, Sealed: s.want, Packs: map[string]string{}}
	var listed []index.Pack
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(resealWorkers)
	for _, id := range ids {
		g.Go(func() error {
			fresh, err := s.pack(gctx, id)
			if err != nil {
				return s.v.damageOf(err, needed[id]...)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			listed = append(listed, fresh)
			note.Packs[id.String()] = fresh.ID.String()
			s.done[id] = fresh.ID
			s.report.Packs++
			s.report.Bytes += fresh.Size
			if s.bytes += s.stored[id]; s.o.Progress != nil {
				s.o.Progress(s.bytes, s.total)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || len(listed) == 0 {
		return err
	}
	sealed, err := s.r.sealMetadata(index.Encode(listed))
	if err != nil {
		return fmt.Errorf("encode index: %w", err)
	}
	if err := createContent(ctx, s.r.bucket, indexName(hashOf(sealed)), sealed); err != nil {
		return err
	}
	return s.note(ctx, note)
}

func (s *resealer) note(ctx context.Context, note resealNote) error {
	plain, err := json.Marshal(note)
	if err != nil {
		return fmt.Errorf("encode note: %w", err)
	}
	sealed, err := s.r.sealMetadata(plain)
	if err != nil {
		return fmt.Errorf("encode note: %w", err)
	}
	name := resealPrefix + hashOf(sealed)
	s.notes = append(s.notes, name)
	return createContent(ctx, s.r.bucket, name, sealed)
}

// pack seals one pack anew. What is inside stays as it is, byte for byte.
func (s *resealer) pack(ctx context.Context, id index.PackID) (index.Pack, error) {
	name := packName(id.String())
	raw, err := s.r.soundPack(ctx, id)
	if err != nil {
		return index.Pack{}, err
	}
	plain, err := s.r.data.Open(raw)
	if err != nil {
		return index.Pack{}, damaged(name, "%v", err)
	}
	if len(plain) < pack.TrailerSize {
		return index.Pack{}, damaged(name, "too short for a pack")
	}
	size, err := pack.FrameSize(plain[len(plain)-pack.TrailerSize:])
	if err != nil || size > int64(len(plain)) {
		return index.Pack{}, damaged(name, "its directory claims %d bytes of %d (%v)", size, len(plain), err)
	}
	records, err := pack.DecodeDirectory(plain[int64(len(plain))-size:], int64(len(plain)))
	if err != nil {
		return index.Pack{}, damaged(name, "%v", err)
	}
	sealed, err := s.r.data.Seal(plain)
	if err != nil {
		return index.Pack{}, err
	}
	fresh, ok := parsePackID(hashOf(sealed))
	if !ok {
		return index.Pack{}, fmt.Errorf("seal pack %s: its new hash is none", id)
	}
	return index.Pack{ID: fresh, Size: int64(len(sealed)), Records: records}, s.r.putPack(ctx, fresh, sealed)
}

// point seals one point's documents anew, when all of its packs were, and reports what is stored now.
func (s *resealer) point(ctx context.Context, address, id string) error {
	summary, sum, err := s.summary(ctx, address, id)
	if err != nil {
		return err
	}
	if s.r.config.Rotation > 0 && (summary.Sealed != s.want || summary.ManifestBefore != "") {
		packs, ok := s.fresh(summary)
		if !ok {
			s.tell(summary, sum) // a pack is damaged, or the point came meanwhile; another run takes it on
			return nil
		}
		if summary, sum, err = s.replace(ctx, summary, packs, sum); err != nil {
			return err
		}
	}
	s.tell(summary, sum)
	return nil
}

func (s *resealer) tell(summary manifest.Summary, sum string) {
	s.report.Points = append(s.report.Points, PointCheck{Address: summary.Address, ID: summary.Point, ManifestSHA: summary.ManifestSHA256, SummarySHA: sum})
}

func (s *resealer) summary(ctx context.Context, address, id string) (manifest.Summary, string, error) {
	name := summaryName(address, id)
	raw, err := s.r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return manifest.Summary{}, "", damaged(name, "it is missing from the store")
	}
	if err != nil {
		return manifest.Summary{}, "", fmt.Errorf("read summary: %w", err)
	}
	summary, err := s.r.decodeSummary(name, address, id, raw)
	return summary, hashOf(raw), err
}

// fresh returns the packs that a point needs when it is sealed anew; ok is false when one of them is not.
func (s *resealer) fresh(summary manifest.Summary) (packs []string, ok bool) {
	isFresh := map[index.PackID]bool{}
	for _, id := range s.done {
		isFresh[id] = true
	}
	for _, p := range s.points {
		if p.Sealed != s.want || p.ManifestBefore != "" {
			continue
		}
		for _, name := range p.Packs {
			if id, ok := parsePackID(name); ok {
				isFresh[id] = true
			}
		}
	}
	for _, name := range summary.Packs {
		id, ok := parsePackID(name)
		if !ok {
			return nil, false
		}
		if to, done := s.done[id]; done {
			packs = append(packs, to.String())
		} else if isFresh[id] {
			packs = append(packs, name)
		} else {
			return nil, false
		}
	}
	slices.Sort(packs)
	return slices.Compact(packs), true
}

// replace puts new documents in the place of the old. First comes a summary that fits both manifests and names the packs of
// both, so that neither a reader nor a pruner finds anything missing at any moment.
func (s *resealer) replace(ctx context.Context, old manifest.Summary, packs []string, oldSum string) (manifest.Summary, string, error) {
	mname := manifestName(old.Address, old.Point)
	raw, err := s.r.bucket.Get(ctx, mname)
	if errors.Is(err, blob.ErrNotFound) {
		return old, oldSum, nil // expired meanwhile
	}
	if err != nil {
		return old, "", fmt.Errorf("read manifest: %w", err)
	}
	before := hashOf(raw)
	if !old.Names(before) {
		return old, "", damaged(mname, "its bytes hash to %s instead of %s", before, old.ManifestSHA256)
	}
	document, err := s.document(old, mname, raw)
	if err != nil {
		return old, "", err
	}
	next := old
	next.ManifestSHA256, next.ManifestSize, next.Sealed = hashOf(document), int64(len(document)), s.want
	next.Replaces = append(slices.Clone(old.Replaces), oldSum)
	between := next
	between.ManifestBefore = before
	between.Packs = slices.Clone(append(slices.Clone(old.Packs), packs...))
	slices.Sort(between.Packs)
	between.Packs = slices.Compact(between.Packs)
	if _, err := s.putSummary(ctx, between); err != nil {
		return old, "", err
	}
	needed, err := packsOf(summaryName(old.Address, old.Point), manifest.Summary{Packs: packs})
	if err != nil {
		return old, "", err
	}
	if err := s.lease.stillNeeds(ctx, needed); err != nil {
		return old, "", err
	}
	if err := putVerified(ctx, s.r.bucket, mname, document); err != nil {
		return old, "", err
	}
	next.Packs, next.ManifestBefore = packs, ""
	sum, err := s.putSummary(ctx, next)
	return next, sum, err
}

// document seals a manifest anew.
func (s *resealer) document(summary manifest.Summary, name string, raw []byte) ([]byte, error) {
	packed, err := s.r.data.Open(raw)
	if err != nil {
		return nil, damaged(name, "%v", err)
	}
	if _, err := frame.Unpack(packed, maxMetadata); err != nil {
		return nil, damaged(name, "%v", err)
	}
	rd := &Reader{name: name}
	if err := rd.decode(s.r, summary.Address, summary.Point, raw); err != nil {
		return nil, err
	}
	return s.r.data.Seal(packed)
}

func (s *resealer) putSummary(ctx context.Context, summary manifest.Summary) (string, error) {
	plain, err := summary.Encode()
	if err != nil {
		return "", fmt.Errorf("encode summary: %w", err)
	}
	sealed, err := s.r.sealMetadata(plain)
	if err != nil {
		return "", fmt.Errorf("encode summary: %w", err)
	}
	return hashOf(sealed), putVerified(ctx, s.r.bucket, summaryName(summary.Address, summary.Point), sealed)
}
