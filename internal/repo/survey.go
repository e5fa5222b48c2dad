package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

// Survey is what names and sizes tell of a repository, and, with a key that opens the repository key, its indexes and
// summaries. Content is not read.
type Survey struct {
	Points         []PointRef
	Damaged        []Damage // ordered by object
	Unknown        []string // objects that belong to nothing
	Bytes, Objects int64    // everything in the store
	// Judged tells whether indexes and summaries could be opened: without that only lost key objects and strangers show.
	Judged    bool
	Unneeded  int64         // bytes of packs that no point needs, condemned ones included
	Condemned int64         // bytes of condemned packs
	Since     time.Duration // how long the first of them is condemned, by the store's clock; 0 when none is
}

// Survey looks at everything in the store without reading content. Damage is no error; failures to reach the store are.
func (r *Repository) Survey(ctx context.Context) (Survey, error) {
	s := &surveyor{
		r: r, packs: map[index.PackID]blob.Info{}, marked: map[index.PackID]blob.Info{}, points: map[[2]string]*surveyed{},
		listed: map[index.PackID]int64{}, needed: map[index.PackID][]string{}, v: &verification{r: r, damaged: map[string]*Damage{}},
	}
	if err := s.list(ctx); err != nil {
		return Survey{}, err
	}
	s.keys()
	if r.CanWrite() {
		s.out.Judged = true
		if err := s.read(ctx); err != nil {
			return Survey{}, err
		}
		s.judge()
	}
	s.condemned()
	s.out.Damaged = s.v.report().Damaged
	return s.out, nil
}

type surveyed struct {
	ref      PointRef
	manifest int64 // stored size
}

type surveyor struct {
	r       *Repository
	out     Survey
	v       *verification // gathers damage
	packs   map[index.PackID]blob.Info
	marked  map[index.PackID]blob.Info
	points  map[[2]string]*surveyed
	indexes []string
	holders map[string]bool // names of key objects
	newest  time.Time       // the latest time the store gave: its clock is at least there

	mu     sync.Mutex
	listed map[index.PackID]int64
	needed map[index.PackID][]string // pack → "address/id" of points
}

func (s *surveyor) list(ctx context.Context) error {
	s.holders = map[string]bool{}
	err := s.r.bucket.List(ctx, "", func(i blob.Info) error {
		s.out.Objects++
		s.out.Bytes += i.Size
		if i.ModTime.After(s.newest) {
			s.newest = i.ModTime
		}
		s.sort(i)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the store: %w", err)
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.points), func(a, b [2]string) int { return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1]) }) {
		s.out.Points = append(s.out.Points, s.points[key].ref)
	}
	return nil
}

// sort puts one object where it belongs, or among the unknown.
func (s *surveyor) sort(i blob.Info) {
	switch {
	case i.Name == configName:
	case strings.HasPrefix(i.Name, packsPrefix):
		if id, ok := parsePackName(i.Name); ok {
			s.packs[id] = i
			return
		}
		s.out.Unknown = append(s.out.Unknown, i.Name)
	case strings.HasPrefix(i.Name, condemnedPrefix):
		if id, ok := parsePackID(strings.TrimPrefix(i.Name, condemnedPrefix)); ok {
			s.marked[id] = i
			return
		}
		s.out.Unknown = append(s.out.Unknown, i.Name)
	case strings.HasPrefix(i.Name, indexPrefix) && isHash(strings.TrimPrefix(i.Name, indexPrefix)):
		s.indexes = append(s.indexes, i.Name)
	case strings.HasPrefix(i.Name, pointsPrefix):
		address, id, suffix, ok := parsePointName(i.Name)
		if !ok {
			s.out.Unknown = append(s.out.Unknown, i.Name)
			return
		}
		p := s.points[[2]string{address, id}]
		if p == nil {
			p = &surveyed{ref: PointRef{Address: address, ID: id}}
			s.points[[2]string{address, id}] = p
		}
		if suffix == manifestSuffix {
			p.ref.Manifest, p.manifest = true, i.Size
		} else {
			p.ref.Summary = true
		}
	case strings.HasPrefix(i.Name, keysPrefix):
		s.holders[i.Name] = true
	case strings.HasPrefix(i.Name, hintsPrefix), strings.HasPrefix(i.Name, writerPrefix), strings.HasPrefix(i.Name, prunerPrefix),
		strings.HasPrefix(i.Name, quarantinePrefix) && isHash(strings.TrimPrefix(i.Name, quarantinePrefix)):
	default:
		s.out.Unknown = append(s.out.Unknown, i.Name)
	}
}

// keys looks for the key object of every holder that repo.json names.
func (s *surveyor) keys() {
	config := s.r.config
	if config.Encryption == EncryptionNone {
		if name := keyName(config.family(), "", false); !s.holders[name] {
			s.v.damage(name, "the repository's key document is missing from the store")
		}
		return
	}
	for _, holder := range slices.Concat(config.Recipients, config.Writers) {
		if name := keyName(config.family(), holder, true); !s.holders[name] {
			s.v.damage(name, "the key document of "+holder+" is missing: its holder cannot open the repository; `holdfast key rotate` makes it anew")
		}
	}
}

// read opens indexes and summaries.
func (s *surveyor) read(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneWorkers)
	for _, name := range s.indexes {
		g.Go(func() error {
			plain, err := s.r.readIndex(gctx, name)
			if err == nil && plain != nil {
				s.mu.Lock()
				defer s.mu.Unlock()
				err = wrapDamaged(name, index.Decode(plain, func(p index.Pack) error {
					s.listed[p.ID] = p.Size
					return nil
				}))
			}
			return s.v.damageOf(err)
		})
	}
	for _, p := range s.points {
		if !p.ref.Manifest {
			continue // the rest of an interrupted backup or deletion
		}
		g.Go(func() error { return s.summary(gctx, p) })
	}
	return g.Wait()
}

func (s *surveyor) summary(ctx context.Context, p *surveyed) error {
	label := p.ref.Address + "/" + p.ref.ID
	name := summaryName(p.ref.Address, p.ref.ID)
	sum, err := s.r.Summary(ctx, p.ref.Address, p.ref.ID)
	if errors.Is(err, ErrNoPoint) {
		s.v.damage(name, "it is missing from the store", label)
		return nil
	}
	if err != nil {
		return s.v.damageOf(err, label)
	}
	if sum.ManifestSize != p.manifest {
		s.v.damage(manifestName(p.ref.Address, p.ref.ID), fmt.Sprintf("it has %d bytes instead of %d", p.manifest, sum.ManifestSize), label)
	}
	s.note(sum, label)
	return nil
}

func (s *surveyor) note(sum manifest.Summary, label string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range sum.Packs {
		if id, ok := parsePackID(name); ok {
			s.needed[id] = append(s.needed[id], label)
		}
	}
}

// judge compares what is needed and listed with what is there.
func (s *surveyor) judge() {
	for id, points := range s.needed {
		name := packName(id.String())
		info, there := s.packs[id]
		size, listed := s.listed[id]
		switch {
		case !there:
			s.v.damage(name, "it is missing from the store", points...)
		case listed && size != info.Size:
			s.v.damage(name, fmt.Sprintf("it has %d bytes instead of %d", info.Size, size), points...)
		case !listed:
			s.v.damage(name, "no readable index lists it; rebuilding the index needs a recipient's key", points...)
		}
	}
	for id, size := range s.listed {
		info, there := s.packs[id]
		if _, needed := s.needed[id]; needed {
			continue
		}
		if there && size != info.Size {
			s.v.damage(packName(id.String()), fmt.Sprintf("it has %d bytes instead of %d", info.Size, size))
		} else if !there {
			s.v.damage(packName(id.String()), "an index lists it, and it is missing from the store")
		}
	}
	for id, info := range s.packs {
		if _, needed := s.needed[id]; !needed {
			s.out.Unneeded += info.Size
		}
	}
}

func (s *surveyor) condemned() {
	var first time.Time
	for id, mark := range s.marked {
		s.out.Condemned += s.packs[id].Size
		if first.IsZero() || mark.ModTime.Before(first) {
			first = mark.ModTime
		}
	}
	if !first.IsZero() {
		s.out.Since = max(s.newest.Sub(first), time.Nanosecond)
	}
}
