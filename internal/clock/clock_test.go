package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-io/holdfast/internal/clock"
)

func TestRealTimerFiresAndMonoGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clock.Real()
		before := c.Mono()
		fired := <-c.NewTimer(3 * time.Second).C()
		if got := c.Mono() - before; got != 3*time.Second {
			t.Errorf("Mono grew by %s, want 3s", got)
		}
		if !fired.Equal(c.Now()) {
			t.Errorf("timer fired at %s, want %s", fired, c.Now())
		}
		stopped := c.NewTimer(time.Hour)
		if !stopped.Stop() {
			t.Error("Stop of a waiting timer answered false")
		}
	})
}
