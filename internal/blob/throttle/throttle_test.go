package throttle_test

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
	"github.com/holdfast-io/holdfast/internal/blob/throttle"
)

func memory(t *testing.T) blob.Bucket {
	t.Helper()
	m, err := cloud.Open(t.Context(), &url.URL{Scheme: "mem"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Bucket { return throttle.New(memory(t), 1<<30) })
}

// The clock is the bubble's, which only waits move, so times are exact but for the tenth of a second that passes at once.
func TestRate(t *testing.T) {
	const rate = 1 << 20
	for name, move := range map[string]func(ctx context.Context, b blob.Bucket) error{
		"put":    func(ctx context.Context, b blob.Bucket) error { return b.Put(ctx, "y", make([]byte, rate)) },
		"create": func(ctx context.Context, b blob.Bucket) error { return b.Create(ctx, "z", make([]byte, rate)) },
		"get":    func(ctx context.Context, b blob.Bucket) error { _, err := b.Get(ctx, "x"); return err },
		"range": func(ctx context.Context, b blob.Bucket) error {
			_, err := b.GetRange(ctx, "long", 5, rate)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := memory(t)
				for object, size := range map[string]int{"x": rate, "long": 3 * rate} {
					if err := m.Put(t.Context(), object, make([]byte, size)); err != nil {
						t.Fatal(err)
					}
				}
				b := throttle.New(m, rate)
				begin := time.Now()
				if err := move(t.Context(), b); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begin).Round(10 * time.Millisecond); took < 900*time.Millisecond || took > time.Second {
					t.Errorf("one second's bytes took %v", took)
				}
			})
		})
	}
}

func TestGoroutinesShareTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := throttle.New(memory(t), 1000)
		begin := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if err := b.Put(t.Context(), string(rune('a'+i)), make([]byte, 1000)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(begin).Round(10 * time.Millisecond); took < 9900*time.Millisecond || took > 10*time.Second {
			t.Errorf("ten seconds' bytes took %v", took)
		}
	})
}

// A lease is renewed within seconds, whatever else is moving.
func TestSmallObjectsPassLargeOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := throttle.New(memory(t), 100_000)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { _ = b.Put(ctx, string(rune('a'+i)), make([]byte, 32<<20)) })
		}
		synctest.Wait()
		begin := time.Now()
		if err := b.Put(ctx, "lease", make([]byte, 400)); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > time.Second {
			t.Errorf("400 bytes waited %v", took)
		}
		cancel()
		wg.Wait()
	})
}

func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory(t)
		b := throttle.New(m, 10)
		why := errors.New("the lease is lost")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { ended <- b.Put(ctx, "x", make([]byte, 1000)) }()
		synctest.Wait()
		begin := time.Now()
		cancel(why)
		if err := <-ended; !errors.Is(err, why) || blob.IsRetryable(err) {
			t.Errorf("got %v, want a final error with the cause", err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it went on waiting for %v", took)
		}
		if _, err := m.Stat(t.Context(), "x"); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("the object was written all the same: %v", err)
		}

		// A deadline before the bytes could pass ends it at the deadline, as one.
		short, cancelShort := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancelShort()
		if err := b.Put(short, "x", make([]byte, 1000)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the deadline", err)
		}
	})
}
