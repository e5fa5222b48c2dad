package dir

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Callers that come during a flush share the next one: theirs must not have begun before their change.
func TestFlushIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun atomic.Int32
		release := make(chan struct{})
		f := flusher{sync: func(string) error {
			begun.Add(1)
			<-release
			return nil
		}}
		var wg sync.WaitGroup
		wg.Go(func() { _ = f.folder("a") })
		synctest.Wait() // the first flush has begun
		for range 5 {
			wg.Go(func() { _ = f.folder("a") })
		}
		wg.Go(func() { _ = f.folder("b") })
		synctest.Wait()
		if n := begun.Load(); n != 2 {
			t.Errorf("%d flushes have begun, want 2: those of a and b do not wait for each other, the others wait", n)
		}
		close(release)
		wg.Wait()
		if n := begun.Load(); n != 3 {
			t.Errorf("%d flushes, want 3: one more for all who came during the first", n)
		}
		if len(f.folders) != 0 {
			t.Errorf("%d folders are still remembered", len(f.folders))
		}
	})
}

func TestFlushErrorReachesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken disk")
		release := make(chan struct{})
		f := flusher{sync: func(string) error {
			<-release
			return broken
		}}
		var failed atomic.Int32
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if errors.Is(f.folder("a"), broken) {
					failed.Add(1)
				}
			})
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if n := failed.Load(); n != 4 {
			t.Errorf("%d of 4 callers heard of the error", n)
		}
	})
}
