package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/policy"
)

// stores opens the repositories of the policy's stores, once each. It is apply.Repositories.
type stores struct {
	s          *session
	identities []age.Identity

	mu   sync.Mutex
	open map[string]*openStore
}

var _ apply.Repositories = (*stores)(nil)

func newStores(s *session, identities []age.Identity) *stores {
	return &stores{s: s, identities: identities, open: map[string]*openStore{}}
}

// lookup finds a store: as it is declared, or, when it is not declared any more, as it was applied last. What lies in a
// store that a slip took out of the policy can still be brought back.
func (st *stores) lookup(address string) (policy.Store, error) {
	if store, ok := st.s.policy.Stores[address]; ok {
		return store, nil
	}
	var applied policy.Store
	if json.Unmarshal(st.s.known[address].Attributes, &applied) != nil || applied.URL == "" {
		return applied, fmt.Errorf("open %s: the policy declares no such store, and none was ever applied; declare it", address)
	}
	applied.Address = address
	return applied, nil
}

// Initialize implements apply.Repositories.
func (st *stores) Initialize(ctx context.Context, address, like string) (string, error) {
	store, err := st.lookup(address)
	if err != nil {
		return "", err
	}
	var family *repo.Repository
	if like != "" {
		other, err := st.connect(ctx, like, true)
		if err != nil {
			return "", fmt.Errorf("initialize %s with the keys of %s: %w", address, like, err)
		}
		family = other.Repository
	}
	b, err := st.s.Open(ctx, store.URL, connect.Options{Base: st.s.dir, Create: true, MaxRate: store.MaxRate})
	if err != nil {
		return "", fmt.Errorf("initialize %s: %w", address, err)
	}
	defer b.Close()
	id, err := repo.Init(ctx, b, repo.InitOptions{
		Recipients: store.Encryption.Recipients, Writers: store.Encryption.Writers, None: store.Encryption.None, Like: family,
	})
	if errors.Is(err, repo.ErrExists) {
		return st.adopt(ctx, b, address)
	}
	if err != nil {
		return "", fmt.Errorf("initialize %s (%s): %w", address, store.URL, err)
	}
	return id, nil
}

// adopt accepts a repository that is there already.
func (st *stores) adopt(ctx context.Context, b blob.Bucket, address string) (string, error) {
	r, err := repo.Open(ctx, b, repo.OpenOptions{Clock: st.s.Clock})
	if err != nil {
		return "", fmt.Errorf("initialize %s: %w", address, err)
	}
	return r.ID(), nil
}

// Open implements apply.Repositories.
func (st *stores) Open(ctx context.Context, address string) (apply.Repository, error) {
	r, err := st.connect(ctx, address, false)
	if err != nil {
		return nil, err
	}
	st.lend(ctx, r)
	st.holders(r)
	return r, nil
}

// holders warns when a store is sealed to others than the policy says: a recipient that was removed there still reads.
func (st *stores) holders(r *repository) {
	want := st.s.policy.Stores[r.address].Encryption
	if have := r.Config(); !want.None && len(without(have.Recipients, want.Recipients))+len(without(want.Recipients, have.Recipients)) > 0 && !r.warned {
		r.warned = true
		st.s.err.Warning(r.address + " is sealed to other recipients than the policy names; `holdfast key rotate " + r.address + "` makes them those of the policy")
	}
}

// View opens a store so that nothing can be written to it.
func (st *stores) View(ctx context.Context, address string) (*repository, error) {
	r, err := st.connect(ctx, address, true)
	if err == nil {
		st.lend(ctx, r)
	}
	return r, err
}

func (st *stores) connect(ctx context.Context, address string, readOnly bool) (*repository, error) {
	store, err := st.lookup(address)
	if err != nil {
		return nil, err
	}
	slot := st.slot(fmt.Sprint(address, readOnly))
	slot.mu.Lock() // a store that does not answer keeps only those waiting who want it
	defer slot.mu.Unlock()
	if slot.r != nil {
		return slot.r, nil
	}
	b, err := st.s.Open(ctx, store.URL, connect.Options{Base: st.s.dir, ReadOnly: readOnly, MaxRate: store.MaxRate})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", address, err)
	}
	r, err := repo.Open(ctx, b, repo.OpenOptions{
		Clock: st.s.Clock, Identities: st.identities, Expect: st.expected(address, store), Who: st.s.holder(),
		Process: processToken(), Gone: processGone,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s (%s): %w", address, store.URL, err), b.Close())
	}
	slot.r = &repository{Repository: r, address: address, policyText: st.s.policy.Text, bucket: b}
	return slot.r, nil
}

// slot is where an opened store is kept.
func (st *stores) slot(key string) *openStore {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.open[key] == nil {
		st.open[key] = &openStore{}
	}
	return st.open[key]
}

// openStore is a store that was opened, or is being opened by who holds mu.
type openStore struct {
	mu sync.Mutex
	r  *repository
}

// lend opens a store of copies with the keys of the one they come from, where this host has none of its own for it.
func (st *stores) lend(ctx context.Context, r *repository) {
	for _, address := range slices.Sorted(maps.Keys(st.s.policy.Backups)) {
		b := st.s.policy.Backups[address]
		if r.CanWrite() || !slices.Contains(b.Copies, r.address) {
			continue
		}
		if primary, err := st.connect(ctx, b.Store, true); err == nil { // a primary that is down lends nothing
			r.ShareKeys(primary.Repository)
		}
	}
}

// expected is the id of the repository that the catalog knows in a store, empty when it knows none there: a store that
// was swapped for another is noticed before anything is read from it or written to it.
func (st *stores) expected(address string, store policy.Store) string {
	known := st.s.known[address]
	var applied policy.Store
	if json.Unmarshal(known.Attributes, &applied) != nil || applied.URL != store.URL {
		return ""
	}
	return known.Repository
}

// sealed names the stores that none of this host's keys can read, as the policy alone tells: a plan contacts no store.
// Without any key, as in CI, the plan is that of the hosts that have one.
func (st *stores) sealed() map[string]bool {
	if len(st.identities) == 0 {
		return nil
	}
	sealed := map[string]bool{}
	for address, store := range st.s.policy.Stores {
		sealed[address] = !store.Encryption.None && !slices.ContainsFunc(st.identities, func(id age.Identity) bool {
			return slices.Contains(store.Encryption.Recipients, recipientOf(id))
		})
	}
	return sealed
}

// recipientOf is the public half of a native age key, empty for keys of other kinds.
func recipientOf(id age.Identity) string {
	switch id := id.(type) {
	case *age.X25519Identity:
		return id.Recipient().String()
	case *age.HybridIdentity:
		return id.Recipient().String()
	default:
		return ""
	}
}
