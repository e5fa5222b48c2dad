package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/state"
)

// shaky is a Supply that fails after so many bytes, counted over everything it hands out; below zero it never does.
type shaky struct {
	names []string
	sizes map[string]int
	left  int
}

var errRotten = errors.New("packs/aa: its bytes changed")

func content(name string, size int) []byte { return bytes.Repeat([]byte(name), size)[:size] }

func (s *shaky) Entries(_ context.Context, each func(executors.Entry) error) error {
	for _, name := range s.names {
		if s.left == 0 {
			return errRotten
		}
		if err := each(executors.Entry{Path: name}); err != nil {
			return err
		}
		if s.left > 0 {
			s.left--
		}
	}
	return nil
}

func (s *shaky) Read(_ context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	for _, name := range s.names {
		e := executors.Entry{Path: name}
		if want != nil && !want(e) {
			continue
		}
		r := &shakyReader{s: s, rest: content(name, s.sizes[name])}
		if err := each(e, r); err != nil {
			return err
		}
		if r.err != nil {
			return r.err // as a repository does: each was told, and must not make a success of it
		}
	}
	return nil
}

func (s *shaky) Meta() map[string]string { return map[string]string{"version": "1"} }

type shakyReader struct {
	s    *shaky
	rest []byte
	err  error
}

func (r *shakyReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	if r.s.left == 0 {
		r.err = errRotten
		return 0, r.err
	}
	n := min(len(p), len(r.rest), 7)
	if r.s.left > 0 {
		n = min(n, r.s.left)
		r.s.left -= n
	}
	copy(p, r.rest[:n])
	r.rest = r.rest[n:]
	return n, nil
}

func newFallback(t interface{ Fatal(...any) }, supplies ...*shaky) (*fallback, *[]string) {
	var told []string
	f := &fallback{warn: func(s string) { told = append(told, s) }}
	for i := range supplies {
		f.copies = append(f.copies, state.Copy{Store: fmt.Sprint("store.s", i)})
	}
	f.open = func(_ context.Context, c state.Copy) (executors.Supply, error) {
		for i := range supplies {
			if c.Store == fmt.Sprint("store.s", i) {
				if supplies[i] == nil {
					return nil, errors.New(c.Store + " is down")
				}
				return supplies[i], nil
			}
		}
		return nil, errors.New("no such store")
	}
	if err := f.first(context.Background()); err != nil {
		t.Fatal(err)
	}
	return f, &told
}

// readAll returns everything that want accepts, and what each was called with, in order.
func readAll(f *fallback, want func(executors.Entry) bool) (map[string][]byte, []string, error) {
	got, order := map[string][]byte{}, []string{}
	err := f.Read(context.Background(), want, func(e executors.Entry, r io.Reader) error {
		order = append(order, e.Path)
		data, err := io.ReadAll(r)
		got[e.Path] = data
		return err
	})
	return got, order, err
}

// TestFallbackReadsWhatOneSoundCopyHolds: whatever the bytes at which other copies fail, every entry comes once, in order and
// whole, as long as one copy is sound.
func TestFallbackReadsWhatOneSoundCopyHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names, sizes, want := []string{}, map[string]int{}, map[string][]byte{}
		skip := map[string]bool{}
		for i := range rapid.IntRange(0, 6).Draw(t, "entries") {
			name := fmt.Sprint("f", i)
			names = append(names, name)
			sizes[name] = rapid.IntRange(0, 60).Draw(t, "size")
			if skip[name] = rapid.Bool().Draw(t, "skip"); !skip[name] {
				want[name] = content(name, sizes[name])
			}
		}
		var supplies []*shaky
		for range rapid.IntRange(0, 3).Draw(t, "bad copies") {
			if rapid.Bool().Draw(t, "down") {
				supplies = append(supplies, nil)
			} else {
				supplies = append(supplies, &shaky{names: names, sizes: sizes, left: rapid.IntRange(0, 200).Draw(t, "fails after")})
			}
		}
		f, _ := newFallback(t, append(supplies, &shaky{names: names, sizes: sizes, left: -1})...)
		got, order, err := readAll(f, func(e executors.Entry) bool { return !skip[e.Path] })
		if err != nil {
			t.Fatal(err)
		}
		if len(order) != len(want) {
			t.Fatalf("entries came as %v", order)
		}
		for name, data := range want {
			if !bytes.Equal(got[name], data) {
				t.Fatalf("%s: %q, want %q", name, got[name], data)
			}
		}
	})
}

func TestFallbackTellsAndGivesUp(t *testing.T) {
	names, sizes := []string{"a", "b"}, map[string]int{"a": 30, "b": 30}
	f, told := newFallback(t, &shaky{names: names, sizes: sizes, left: 10}, nil, &shaky{names: names, sizes: sizes, left: 40})
	_, order, err := readAll(f, nil)
	if !errors.Is(err, errRotten) {
		t.Errorf("error %v when no copy is sound", err)
	}
	if diff := cmp.Diff([]string{
		"packs/aa: its bytes changed; trying the copy in store.s1",
		"store.s1 is down; trying the copy in store.s2",
	}, *told); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if strings.Join(order, " ") != "a b" {
		t.Errorf("entries %v", order)
	}
	if c, _ := f.current(); c.Store != "store.s2" {
		t.Errorf("the copy in use is %s", c.Store)
	}
}

// TestFallbackKeepsTheCallersErrors: what the caller could not write is no reason to read from elsewhere.
func TestFallbackKeepsTheCallersErrors(t *testing.T) {
	names, sizes := []string{"a"}, map[string]int{"a": 3}
	sound := func() *shaky { return &shaky{names: names, sizes: sizes, left: -1} }
	f, told := newFallback(t, sound(), sound())
	full := errors.New("no space left on device")
	if err := f.Read(t.Context(), nil, func(executors.Entry, io.Reader) error { return full }); !errors.Is(err, full) {
		t.Errorf("Read: %v", err)
	}
	if err := f.Entries(t.Context(), func(executors.Entry) error { return full }); !errors.Is(err, full) {
		t.Errorf("Entries: %v", err)
	}
	if len(*told) > 0 {
		t.Errorf("warnings %v", *told)
	}
}

func TestFallbackListsEntriesOnce(t *testing.T) {
	names := []string{"a", "b", "c"}
	for left := range 4 {
		f, _ := newFallback(t, &shaky{names: names, left: left}, &shaky{names: names, left: -1})
		var got []string
		if err := f.Entries(t.Context(), func(e executors.Entry) error { got = append(got, e.Path); return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("failing after %d entries (-want +got):\n%s", left, diff)
		}
	}
}

// TestFallbackRefusesAnotherPoint: a copy that holds other entries is not gone on with.
func TestFallbackRefusesAnotherPoint(t *testing.T) {
	f, _ := newFallback(t, &shaky{names: []string{"a", "b"}, left: 1}, &shaky{names: []string{"x", "b"}, left: -1})
	err := f.Entries(t.Context(), func(executors.Entry) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "not copies of one restore point") {
		t.Errorf("error %v", err)
	}
}
