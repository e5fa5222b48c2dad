package backend_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/internal/clock/clocktest"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// model is two hosts over one bucket, and what the bucket must hold.
type model struct {
	clock  *clocktest.Fake
	bucket *bucket
	hosts  [2]*backend.Backend
	leased [2]*backend.Leased
	cats   [2]*state.Catalog
	serial uint64           // of the last commit that was reported as a success
	sizes  map[string]int64 // by backup: the size of its only point, at that serial
	edited [2]map[string]int64
	next   int64
}

func newModel(t *rapid.T) *model {
	m := &model{clock: clocktest.New(start), sizes: map[string]int64{}}
	m.bucket = newBucket(m.clock)
	for i := range m.hosts {
		m.hosts[i] = open(m.bucket, m.clock, fmt.Sprintf("host%d", i))
	}
	// Both hold a lease here: the second takes over the first one's. Only the compare-and-swap is under test.
	for i := range m.hosts {
		var err error
		if m.leased[i], err = m.hosts[i].Lease(context.Background(), state.LeaseInfo{Operation: "apply"}, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.leased[i].Release(context.Background()) }) // the first one is trimmed by then
		if i == 0 {
			m.clock.Shift(time.Hour)
		}
	}
	for i := range m.hosts {
		m.take(t, i)
	}
	return m
}

func (m *model) take(t *rapid.T, i int) {
	cat, err := m.hosts[i].Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m.cats[i], m.edited[i] = cat, map[string]int64{}
	if cat.Serial != m.serial {
		t.Fatalf("host %d loaded serial %d, want %d", i, cat.Serial, m.serial)
	}
}

func host(t *rapid.T) int { return rapid.IntRange(0, 1).Draw(t, "host") }

func (m *model) load(t *rapid.T) { m.take(t, host(t)) }

func (m *model) reload(t *rapid.T) {
	i := host(t)
	if err := m.hosts[i].Refresh(context.Background(), m.cats[i]); err != nil {
		t.Fatal(err)
	}
	m.edited[i] = map[string]int64{}
}

func (m *model) edit(t *rapid.T) {
	i := host(t)
	address := fmt.Sprintf("backup.b%d", rapid.IntRange(0, 5).Draw(t, "backup"))
	m.next++
	if points := m.cats[i].Points[address]; len(points) > 0 {
		points[0].Size = m.next
	} else {
		p := point(0)
		p.Size = m.next
		m.cats[i].Points[address] = []state.RestorePoint{p}
	}
	m.edited[i][address] = m.next
}

func (m *model) commit(t *rapid.T) {
	i := host(t)
	base := m.cats[i].Serial
	err := m.leased[i].Commit(context.Background(), m.cats[i])
	if base != m.serial {
		if !errors.Is(err, state.ErrStale) {
			t.Fatalf("commit on serial %d of %d: %v, want ErrStale", base, m.serial, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for address, size := range m.edited[i] {
		m.sizes[address] = size
	}
	if len(m.edited[i]) > 0 || base == 0 {
		m.serial++
	}
	m.edited[i] = map[string]int64{}
	if m.cats[i].Serial != m.serial {
		t.Fatalf("serial %d after a commit, want %d", m.cats[i].Serial, m.serial)
	}
}

// time jumps in both directions.
func (m *model) time(t *rapid.T) {
	m.clock.Shift(time.Duration(rapid.IntRange(-72, 72).Draw(t, "hours")) * time.Hour)
}

func (m *model) check(t *rapid.T) {
	got, err := m.hosts[0].Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[string]int64{}
	for address, points := range got.Points {
		sizes[address] = points[0].Size
	}
	if diff := cmp.Diff(m.sizes, sizes); diff != "" || got.Serial != m.serial {
		t.Fatalf("serial %d, want %d; sizes (-model +bucket):\n%s", got.Serial, m.serial, diff)
	}
}
