package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/index"
)

// RepairOptions say how to repair.
type RepairOptions struct {
	Compression string            // where content is sealed anew
	Progress    func(bytes int64) // read so far; one call at a time; may be nil
}

// RepairReport tells what a repair did.
type RepairReport struct {
	Replaced []string // objects that hold again what they should
	SetAside []string // damaged objects that are under quarantine/ now
	Receipt  Receipt  // what the point is stored as now; zero when that did not change
	Bytes    int64    // read
	Left     []Damage // what is damaged still
}

// RepairPoint looks at every stored byte that a point needs and replaces what is damaged or missing from a repository with
// a good copy; nil when there is none. Where both share their keys it needs a writer's key. What cannot be replaced as it was
// stored is sealed anew with a reading key of both. Packs beyond repair are set aside: no later backup builds on them, so
// that the next one stores their content again, and with a reading key what can still be read of them is kept.
//
// It may be repeated, also after a crash at any moment. Other points that need a replaced pack are healed with it.
//
// Errors: KeyError, LeaseHeldError, ErrLeaseLost, those of the buckets. Damage that stays is no error: it is in the report.
func (r *Repository) RepairPoint(ctx context.Context, from *Repository, c PointCheck, o RepairOptions) (RepairReport, error) {
	if o.Progress == nil {
		o.Progress = func(int64) {}
	}
	if from != nil {
		r, from = r.borrow(from), from.borrow(r)
	}
	if err := r.needWrite(); err != nil {
		return RepairReport{}, err
	}
	m := &mender{r: r, from: from, check: c, o: o, report: &RepairReport{}, gone: map[index.PackID]bool{}}
	if err := m.keys(ctx); err != nil {
		return *m.report, err
	}
	damage, err := m.look(ctx)
	if err != nil || len(damage) == 0 {
		return *m.report, err
	}
	held, err := r.writerLease(ctx)
	if err != nil {
		return *m.report, err
	}
	m.lease = held
	err = m.run(held.ctx, damage)
	if cause := context.Cause(held.ctx); err != nil && cause != nil {
		err = errors.Join(cause, err)
	}
	return *m.report, errors.Join(err, held.release(ctx))
}

// mender is one repair at work.
type mender struct {
	r, from *Repository
	check   PointCheck // what the point is, or will be when the repair has ended
	o       RepairOptions
	lease   *lease
	report  *RepairReport
	adopt   bool                  // take the good copy's documents: the packs of those here are lost
	gone    map[index.PackID]bool // packs that are missing or set aside

	mu        sync.Mutex // guards report and gone
	salvaging sync.Mutex // one pack at a time: each is in memory twice
}

// sharesKeys tells whether the good copy's objects can take the place of those here.
func (m *mender) sharesKeys() bool { return m.from != nil && m.from.Family() == m.r.Family() }

func (m *mender) replaced(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.report.Replaced, name) {
		m.report.Replaced = append(m.report.Replaced, name)
	}
}

// look verifies the point by what its hashes are now.
func (m *mender) look(ctx context.Context) ([]Damage, error) {
	before := m.report.Bytes
	found, err := m.r.VerifyStored(ctx, VerifyOptions{
		Points: []PointCheck{m.check}, Progress: func(p VerifyProgress) { m.o.Progress(before + p.Bytes) },
	})
	m.report.Bytes = before + found.Bytes
	return found.Damaged, err
}

// run repairs, looks, and goes on with what can be known or done only then.
func (m *mender) run(ctx context.Context, damage []Damage) error {
	for range 3 {
		if err := m.round(ctx, damage); err != nil {
			return err
		}
		left, err := m.look(ctx)
		if err != nil {
			return err
		}
		m.report.Left = left
		if len(left) == 0 {
			break
		}
		again, err := m.resummarize(ctx)
		if err != nil {
			return err
		}
		if !again && (m.adopt || !m.sharesKeys()) {
			break
		}
		m.adopt = m.adopt || !again
		if damage, err = m.look(ctx); err != nil {
			return err
		}
		if m.report.Left = damage; len(damage) == 0 {
			break
		}
	}
	err := m.anew(ctx)
	slices.Sort(m.report.Replaced)
	slices.Sort(m.report.SetAside)
	return err
}

// round goes from the packs up: whatever an object names is there before it.
func (m *mender) round(ctx context.Context, damage []Damage) error {
	docs, err := m.documents(ctx)
	if err != nil {
		return err
	}
	if err := m.r.claim(ctx, m.lease, docs.packs); err != nil {
		return err
	}
	if err := m.packs(ctx, docs.packs, damage); err != nil {
		return err
	}
	if err := m.indexes(ctx); err != nil {
		return err
	}
	return m.write(ctx, docs)
}

// get reads an object, nil when it is missing.
func (m *mender) get(ctx context.Context, r *Repository, name string) ([]byte, error) {
	raw, err := r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Bytes += int64(len(raw))
	m.o.Progress(m.report.Bytes)
	if raw == nil {
		raw = []byte{}
	}
	return raw, nil
}

// setAside moves a damaged object out of the way. People find it under quarantine/.
func (m *mender) setAside(ctx context.Context, name string, raw []byte) error {
	if err := putVerified(ctx, m.r.bucket, quarantineName(name), raw); err != nil {
		return err
	}
	if err := m.r.bucket.Delete(ctx, name); err != nil {
		return fmt.Errorf("set %s aside: %w", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.SetAside = append(m.report.SetAside, name)
	return nil
}

func quarantineName(name string) string {
	return quarantinePrefix + name[strings.LastIndexByte(name, '/')+1:]
}

// keys makes key objects anew that are missing or not what repo.json says. Where it says nothing, only their holder can tell
// whether they open.
func (m *mender) keys(ctx context.Context) error {
	config := m.r.config
	var lost []string
	for _, holder := range config.holders() {
		name := config.keyName(holder)
		raw, err := m.get(ctx, m.r, name)
		if err != nil {
			return err
		}
		if want := config.KeyObjects[name]; raw == nil || want != "" && hashOf(raw) != want {
			lost = append(lost, name)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	held, err := m.r.prunerLease(ctx) // nobody rotates keys meanwhile
	if err != nil {
		return err
	}
	return errors.Join(m.makeKeys(held.ctx, lost), held.release(ctx))
}

func (m *mender) makeKeys(ctx context.Context, lost []string) error {
	config := m.r.config
	if err := m.r.unchanged(ctx); err != nil {
		return err
	}
	err := storeKeys(ctx, m.r.bucket, &config, m.r.document, func(ctx context.Context, b blob.Bucket, name string, data []byte) error {
		if !slices.Contains(lost, name) {
			return nil
		}
		return putVerified(ctx, b, name, data)
	})
	if err != nil {
		return err
	}
	for _, name := range lost {
		m.replaced(name)
	}
	if len(m.r.config.KeyObjects) == 0 {
		return nil
	}
	for name, sum := range m.r.config.KeyObjects {
		if !slices.Contains(lost, name) {
			config.KeyObjects[name] = sum // as it is stored
		}
	}
	return m.r.putConfig(ctx, config)
}
