package blobtest_test

import (
	"errors"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/blobtest"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
)

func memory(t *testing.T) blob.Bucket {
	t.Helper()
	m, err := cloud.Open(t.Context(), &url.URL{Scheme: "mem"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Both wrappers must be invisible as long as no fault is armed.
func TestWrappersKeepTheContract(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Bucket {
		return blobtest.NewRecorder(blobtest.NewFaulty(memory(t)))
	})
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	m := memory(t)
	f := blobtest.NewFaulty(m)
	if err := f.Put(t.Context(), "x", []byte("content")); err != nil {
		t.Fatal(err)
	}
	f.Add(
		blobtest.Fault{Op: blobtest.Get, Skip: 1, Err: boom},
		blobtest.Fault{Op: blobtest.Get, Mangle: blobtest.Short(3)},
		blobtest.Fault{Op: blobtest.Get, Mangle: blobtest.FlipBit(-1)},
		blobtest.Fault{Op: blobtest.Put, Prefix: "a/", After: boom},
	)
	var got []string
	for range 5 {
		data, err := f.Get(t.Context(), "x")
		if err != nil {
			data = []byte(err.Error())
		}
		got = append(got, string(data))
	}
	// The first call passes the first fault and is struck by the second; the next is struck by the first.
	want := []string{"con", "get object x: boom", "contenu", "content", "content"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
	if err := f.Put(t.Context(), "b/x", nil); err != nil {
		t.Errorf("put outside the prefix: %v", err)
	}
	if err := f.Put(t.Context(), "a/x", []byte("done")); !errors.Is(err, boom) {
		t.Errorf("put with a lost answer: %v", err)
	}
	if data, err := m.Get(t.Context(), "a/x"); err != nil || string(data) != "done" {
		t.Errorf("the write whose answer was lost was not done: %q, %v", data, err)
	}
	f.CheckUsed(t)
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := blobtest.NewFaulty(memory(t))
		f.Add(blobtest.Fault{Delay: time.Minute})
		begin := time.Now() // the bubble's clock
		if err := f.Put(t.Context(), "x", nil); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("put took %v, %v; want a minute", time.Since(begin), err)
		}
	})
}

func TestCutPower(t *testing.T) {
	f := blobtest.NewFaulty(memory(t))
	if err := f.Put(t.Context(), "before", nil); err != nil {
		t.Fatal(err)
	}
	f.CutPower(2)
	if _, err := f.Get(t.Context(), "before"); err != nil {
		t.Errorf("a read before the cut: %v", err)
	}
	errs := []error{f.Put(t.Context(), "1", nil), f.Create(t.Context(), "2", nil)}
	if err := errors.Join(errs...); err != nil {
		t.Errorf("writes before the cut: %v", err)
	}
	if err := f.Delete(t.Context(), "1"); !errors.Is(err, blobtest.ErrPowerCut) {
		t.Errorf("the third write: %v", err)
	}
	if _, err := f.Get(t.Context(), "1"); !errors.Is(err, blobtest.ErrPowerCut) {
		t.Errorf("a read after the cut: %v", err)
	}
	f.RestorePower()
	var got []string
	visit := func(i blob.Info) error {
		got = append(got, i.Name)
		return nil
	}
	if err := f.List(t.Context(), "", visit); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "2", "before"}, got); diff != "" {
		t.Errorf("what survived (-want +got):\n%s", diff)
	}
	if f.Writes() != 3 {
		t.Errorf("%d writes reached the store, want 3", f.Writes())
	}
}
