package repo_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/clock"
	"github.com/holdfast-io/holdfast/internal/repo"
)

// host is a machine with a clock of its own. Its requests take random time; now and then it sleeps in the middle of its work
// for longer than any lease, and a suspended machine's monotonic clock stands still meanwhile.
type host struct {
	blob.Bucket
	skew time.Duration
	long bool // sleeps at times

	mu    sync.Mutex
	rng   *rand.Rand
	until time.Time // asleep
	slept time.Duration
	begin time.Time
}

func (h *host) Now() time.Time { return time.Now().Add(h.skew) }

func (h *host) Mono() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.begin) - h.slept
}

func (h *host) NewTimer(d time.Duration) clock.Timer { return clock.Real().NewTimer(d) }

// pause is what every request goes through, before and after.
func (h *host) pause() {
	h.mu.Lock()
	if h.long && h.rng.IntN(150) == 0 && time.Now().After(h.until) {
		d := time.Duration(h.rng.Int64N(int64(90 * time.Minute)))
		h.until, h.slept = time.Now().Add(d), h.slept+d
	}
	d := time.Duration(h.rng.Int64N(int64(3*time.Second))) + max(0, time.Until(h.until))
	h.mu.Unlock()
	time.Sleep(d)
}

func (h *host) Put(ctx context.Context, name string, data []byte) error {
	h.pause()
	defer h.pause()
	return h.Bucket.Put(ctx, name, data)
}

func (h *host) Create(ctx context.Context, name string, data []byte) error {
	h.pause()
	defer h.pause()
	return h.Bucket.Create(ctx, name, data)
}

func (h *host) Get(ctx context.Context, name string) ([]byte, error) {
	h.pause()
	return h.Bucket.Get(ctx, name)
}

func (h *host) Stat(ctx context.Context, name string) (blob.Info, error) {
	h.pause()
	return h.Bucket.Stat(ctx, name)
}

func (h *host) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	h.pause()
	return h.Bucket.List(ctx, prefix, fn)
}

func (h *host) Delete(ctx context.Context, name string) error {
	h.pause()
	defer h.pause()
	return h.Bucket.Delete(ctx, name)
}

// world is a store, who works on it, and the model: which points must be there, with which content.
type world struct {
	t      *testing.T
	store  *memory
	bucket blob.Bucket // the store as hosts see it
	key    key
	plain  bool
	rounds int
	grace  time.Duration

	mu     sync.Mutex
	points map[string][]file
	lost   int // backups that gave up because their lease was lost or a prune was in the way
	pruned repo.PruneReport
}

func (w *world) host(seed uint64, long bool, skew time.Duration) *repo.Repository {
	h := &host{Bucket: w.bucket, rng: rand.New(rand.NewPCG(seed, 1)), long: long, skew: skew, begin: time.Now()}
	r, err := repo.Open(w.t.Context(), h, w.options(h))
	if err != nil {
		w.t.Error(err)
	}
	return r
}

func (w *world) options(c clock.Clock) repo.OpenOptions {
	o := repo.OpenOptions{Concurrency: 2, Clock: c, Who: "model"}
	if !w.plain {
		o.Identities = append(o.Identities, w.key.id)
	}
	return o
}

// write makes points of a few contents that all writers share.
func (w *world) write(name string, r *repo.Repository, rng *rand.Rand) {
	for i := range w.rounds {
		time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Minute))))
		var files []file
		for n := range 10 {
			if rng.IntN(3) == 0 {
				files = append(files, file{fmt.Sprint("f", n), random(uint64(n), 3000+n*500), strconv.Itoa(n)})
			}
		}
		point := fmt.Sprintf("%s-%03d", name, i)
		_, _, err := tryBackup(w.t.Context(), r, options(point), files)
		w.mu.Lock()
		if err == nil {
			w.points[point] = files
		} else {
			w.lost++
			w.t.Logf("%s gave up: %v", point, err)
		}
		w.mu.Unlock()
	}
}

func (w *world) expire(r *repo.Repository, rng *rand.Rand) {
	for range w.rounds {
		time.Sleep(time.Duration(rng.Int64N(int64(20 * time.Minute))))
		w.mu.Lock()
		var victim string
		for point := range w.points {
			if victim == "" || rng.IntN(2) == 0 {
				victim = point
			}
		}
		delete(w.points, victim)
		w.mu.Unlock()
		if victim != "" {
			if err := r.DeletePoint(w.t.Context(), address, victim); err != nil {
				w.t.Error(err)
			}
		}
	}
}

func (w *world) prune(r *repo.Repository, rng *rand.Rand) {
	for range 2 * w.rounds {
		time.Sleep(time.Duration(rng.Int64N(int64(15 * time.Minute))))
		report, err := r.Prune(w.t.Context(), repo.PruneOptions{Grace: w.grace})
		var held *repo.LeaseHeldError
		if err != nil && !errors.As(err, &held) && !errors.Is(err, repo.ErrLeaseLost) {
			w.t.Errorf("prune: %v", err)
		}
		w.mu.Lock()
		w.pruned.Deleted += report.Deleted
		w.pruned.Rewritten += report.Rewritten
		w.pruned.Acquitted += report.Acquitted
		w.mu.Unlock()
		w.check()
	}
}

// check looks at the store as it is at this moment: every point that was reported as made and not expired reads back.
func (w *world) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	frozen := w.store.clone()
	r, err := repo.Open(w.t.Context(), frozen, w.options(nil))
	if err != nil {
		w.t.Error(err)
		return
	}
	for point, files := range w.points {
		wantRestored(w.t, r, point, files)
	}
}

// modelRun lets two writers, an expirer and two pruners work on one store in random order.
func modelRun(t *testing.T, seed uint64, k key, plain, late bool, grace time.Duration, rounds int) {
	t.Logf("HOLDFAST_SEED=%d", seed)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, store: newMemory(), key: k, plain: plain, points: map[string][]file{}, rounds: rounds, grace: grace}
		o := repo.InitOptions{None: plain}
		if !plain {
			o.Recipients = []string{k.public}
		}
		initRepo(t, w.store, o)
		w.bucket = w.store
		if late {
			w.bucket = blobtest.NewLate(w.store, 4*time.Minute, time.Now)
		}
		rng := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
		var all sync.WaitGroup
		all.Go(func() { w.write("a", w.host(seed+1, true, 3*time.Hour), rng(1)) })
		all.Go(func() { w.write("b", w.host(seed+2, false, -5*time.Hour), rng(2)) })
		all.Go(func() { w.expire(w.host(seed+3, false, 0), rng(3)) })
		all.Go(func() { w.prune(w.host(seed+4, true, 48*time.Hour), rng(4)) })
		all.Go(func() { w.prune(w.host(seed+5, false, -time.Hour), rng(5)) })
		all.Wait()
		time.Sleep(time.Hour) // leases of who gave up are over, listings are up to date
		w.settle()
		t.Logf("%d points left, %d backups gave up, %d packs deleted, %d rewritten, %d acquitted",
			len(w.points), w.lost, w.pruned.Deleted, w.pruned.Rewritten, w.pruned.Acquitted)
	})
}

// settle prunes until nothing is left to do: nothing is damaged, nothing is left over, and nobody's manifest lacks a chunk.
func (w *world) settle() {
	r := w.host(9, false, 0)
	for range 4 {
		if _, err := r.Prune(w.t.Context(), repo.PruneOptions{Grace: w.grace}); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(w.grace + 15*time.Minute)
	}
	w.check()
	report, err := r.VerifyStored(w.t.Context(), repo.VerifyOptions{All: true})
	if err != nil || len(report.Damaged) > 0 {
		w.t.Errorf("verify stored: %v, %+v", err, report.Damaged)
	}
	points, err := r.Points(w.t.Context())
	if err != nil {
		w.t.Error(err)
	}
	for _, p := range points {
		report, err := r.VerifyRead(w.t.Context(), p.Address, p.ID, nil)
		if err != nil || len(report.Damaged) > 0 {
			w.t.Errorf("point %s: %v, %+v", p.ID, err, report.Damaged)
		}
	}
	if left := w.store.names("condemned/"); len(left) > 0 {
		w.t.Errorf("%d packs are still condemned", len(left))
	}
}

// TestWritersAndPruners: whatever two writers, two pruners and expiry do to each other, on hosts whose clocks are days apart and
// that sleep past their leases, no point lacks a chunk. HOLDFAST_SEED repeats one run, HOLDFAST_LONG=1 makes many.
func TestWritersAndPruners(t *testing.T) {
	seeds, rounds := 2, 8
	if os.Getenv("HOLDFAST_LONG") != "" {
		seeds, rounds = 60, 25
	}
	first := rand.Uint64N(1 << 40)
	if s := os.Getenv("HOLDFAST_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, seeds = n, 1
	}
	k := classic(t)
	for i := range seeds {
		for _, c := range []struct {
			name        string
			plain, late bool
			grace       time.Duration
		}{
			{"sealed", false, false, 0},
			{"plain", true, false, 0},
			{"late", true, true, 10 * time.Minute},
		} {
			t.Run(c.name, func(t *testing.T) { modelRun(t, first+uint64(i), k, c.plain, c.late, c.grace, rounds) })
		}
	}
}
