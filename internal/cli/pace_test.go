package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func opened(size int) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(make([]byte, size))), nil }
}

// TestPaceHoldsForAllItemsTogether reads two items at once: they share the rate.
func TestPaceHoldsForAllItemsTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(1_000_000)
		start := time.Now()
		done := make(chan int64)
		for range 2 {
			go func() {
				r, _ := p.slow(t.Context(), opened(2_000_000))()
				n, err := io.Copy(io.Discard, r)
				if err != nil {
					t.Error(err)
				}
				done <- n
			}()
		}
		if n := <-done + <-done; n != 4_000_000 {
			t.Errorf("read %d bytes", n)
		}
		// The first tenth of a second's bytes pass at once.
		if took := time.Since(start); took < 3800*time.Millisecond || took > 4*time.Second {
			t.Errorf("4 MB at 1 MB/s took %v", took)
		}
	})
}

func TestPaceEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("told to stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		r, _ := newPace(1000).slow(ctx, opened(1_000_000))()
		time.AfterFunc(time.Second, func() { cancel(cause) })
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, cause) {
			t.Errorf("error %v, want %v", err, cause)
		}
	})
}

func TestNoPace(t *testing.T) {
	open := opened(1)
	if newPace(0) != nil || newPace(0).slow(t.Context(), open) == nil || newPace(5).slow(t.Context(), nil) != nil {
		t.Error("content without a limit, or without bytes, must stay as it is")
	}
}
