package retry_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
	"github.com/holdfast-io/holdfast/internal/blob/retry"
)

var (
	errLost  = blob.Retryable(errors.New("connection lost"))
	errFinal = errors.New("malformed request")
)

// stack is retry → recorder → faulty → memory.
type stack struct {
	*retry.Bucket
	rec    *blobtest.Recorder
	faulty *blobtest.Faulty
	memory blob.Bucket
}

func newStack(t *testing.T) stack {
	t.Helper()
	m, err := cloud.Open(t.Context(), &url.URL{Scheme: "mem"})
	if err != nil {
		t.Fatal(err)
	}
	f := blobtest.NewFaulty(m)
	r := blobtest.NewRecorder(f)
	t.Cleanup(func() { f.CheckUsed(t) })
	return stack{retry.New(r), r, f, m}
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Bucket { return newStack(t).Bucket })
}

// Each operation hides failures that go away, within the time that the waits may take at most.
func TestFailuresThatGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		if err := s.memory.Put(t.Context(), "x", []byte("content")); err != nil {
			t.Fatal(err)
		}
		s.faulty.Add(blobtest.Fault{Err: errLost, Times: 5, Op: blobtest.Get}, blobtest.Fault{Err: errLost, Times: 5, Op: blobtest.Stat},
			blobtest.Fault{Err: errLost, Times: 5, Op: blobtest.Put}, blobtest.Fault{Err: errLost, Times: 5, Op: blobtest.Create},
			blobtest.Fault{Err: errLost, Times: 5, Op: blobtest.Delete}, blobtest.Fault{Err: errLost, Times: 5, Op: blobtest.List})
		ctx := t.Context()
		for _, do := range []func() error{
			func() error { _, err := s.Get(ctx, "x"); return err },
			func() error { _, err := s.Stat(ctx, "x"); return err },
			func() error { return s.Put(ctx, "y", nil) },
			func() error { return s.Create(ctx, "z", nil) },
			func() error { return s.Delete(ctx, "z") },
			func() error { return s.List(ctx, "", func(blob.Info) error { return nil }) },
		} {
			begin := time.Now() // the bubble's clock, which only the waits move
			if err := do(); err != nil {
				t.Error(err)
			}
			if took, most := time.Since(begin), 15500*time.Millisecond+5; took <= 0 || took > most {
				t.Errorf("five waits took %v, want at most %v", took, most)
			}
		}
	})
}

// What a server asks for is waited, up to a minute, and then a random span, so that hosts do not return together.
func TestServerAsksForTime(t *testing.T) {
	for asked, least := range map[time.Duration]time.Duration{5 * time.Second: 5 * time.Second, time.Hour: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s := newStack(t)
			s.faulty.Add(blobtest.Fault{Err: blob.RetryableAfter(errors.New("slow down"), asked), Times: 1, Op: blobtest.Put})
			begin := time.Now()
			if err := s.Put(t.Context(), "x", nil); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took <= least || took > least+500*time.Millisecond+1 {
				t.Errorf("asked for %v, it waited %v", asked, took)
			}
		})
	}
}

func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.faulty.Add(blobtest.Fault{Err: errLost, Times: -1, Op: blobtest.Get}, blobtest.Fault{Err: errFinal, Op: blobtest.Put})
		_, err := s.Get(t.Context(), "x")
		want := "get object x: connection lost (gave up after 6 attempts)"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if n := len(s.rec.Calls(blobtest.Get)); n != 6 {
			t.Errorf("%d attempts, want 6", n)
		}
		if err := s.Put(t.Context(), "x", nil); !errors.Is(err, errFinal) {
			t.Errorf("put: %v", err)
		}
		if n := len(s.rec.Calls(blobtest.Put)); n != 1 {
			t.Errorf("%d attempts after a final error, want 1", n)
		}
	})
}

func TestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t)
		s.faulty.Add(blobtest.Fault{Err: errLost, Times: -1})
		why := errors.New("the lease is lost")
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Delete(ctx, "x") }()
		synctest.Wait() // it waits before the second attempt
		begin := time.Now()
		cancel(why)
		err := <-ended
		if !errors.Is(err, why) || !errors.Is(err, errLost) {
			t.Errorf("got %v, want both why it failed and why it stopped", err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("it went on waiting for %v", took)
		}
	})
}

func TestCreateWithLostAnswers(t *testing.T) {
	ours, theirs := []byte("ours"), []byte("theirs")
	cases := []struct {
		name   string
		before []byte // what is there already
		faults []blobtest.Fault
		want   error
		calls  []string
	}{
		{
			name:   "made, answer lost",
			faults: []blobtest.Fault{{Op: blobtest.Create, After: errLost}},
			calls:  []string{"create x: create object x: connection lost", "create x: create object x: object exists already", "get x"},
		},
		{
			name:   "not made, answer lost",
			faults: []blobtest.Fault{{Op: blobtest.Create, Err: errLost}},
			calls:  []string{"create x: create object x: connection lost", "create x"},
		},
		{
			name: "somebody else's, answer lost", before: theirs, want: blob.ErrExists,
			faults: []blobtest.Fault{{Op: blobtest.Create, Err: errLost}},
			calls:  []string{"create x: create object x: connection lost", "create x: create object x: object exists already", "get x"},
		},
		{
			name: "the same bytes, at once", before: ours, want: blob.ErrExists,
			calls: []string{"create x: create object x: object exists already"},
		},
		{
			name:   "made, answer lost, reading back fails for good",
			faults: []blobtest.Fault{{Op: blobtest.Create, After: errLost}, {Op: blobtest.Get, Err: errFinal}},
			want:   errFinal,
			calls: []string{
				"create x: create object x: connection lost", "create x: create object x: object exists already",
				"get x: get object x: malformed request",
			},
		},
		{
			name:   "made, answer lost, reading back fails once",
			faults: []blobtest.Fault{{Op: blobtest.Create, After: errLost}, {Op: blobtest.Get, Err: errLost}},
			calls: []string{
				"create x: create object x: connection lost", "create x: create object x: object exists already",
				"get x: get object x: connection lost", "create x: create object x: object exists already", "get x",
			},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStack(t)
				if c.before != nil {
					if err := s.memory.Put(t.Context(), "x", c.before); err != nil {
						t.Fatal(err)
					}
				}
				s.faulty.Add(c.faults...)
				err := s.Create(t.Context(), "x", ours)
				if !errors.Is(err, c.want) || c.want == errFinal && errors.Is(err, blob.ErrExists) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if diff := cmp.Diff(c.calls, s.rec.Strings()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// breaking is a listing that breaks after some names, as one over several pages does.
type breaking struct {
	blob.Bucket
	breaks []int // for each attempt after how many names; none left: not at all
}

func (b *breaking) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	left := -1
	if len(b.breaks) > 0 {
		left, b.breaks = b.breaks[0], b.breaks[1:]
	}
	return b.Bucket.List(ctx, prefix, func(i blob.Info) error {
		if left == 0 {
			return errLost
		}
		left--
		return fn(i)
	})
}

func TestListGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newStack(t).memory
		var want, got []string
		for i := range 10 {
			want = append(want, fmt.Sprintf("x/%d", i))
			if err := m.Put(t.Context(), want[i], nil); err != nil {
				t.Fatal(err)
			}
		}
		b := retry.New(&breaking{m, []int{0, 3, 3, 7}})
		visit := func(i blob.Info) error {
			got = append(got, i.Name)
			return nil
		}
		if err := b.List(t.Context(), "x/", visit); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("visited (-want +got):\n%s", diff)
		}
	})
}
