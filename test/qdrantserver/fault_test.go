package qdrantserver_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

func faulty(t *testing.T) (s *qdranttest.Server, name string) {
	t.Helper()
	s = qdranttest.Start(t, qdrantserver.Options{})
	name = s.Name(t, "fault")
	s.Fill(t, name, nil, 10, 2)
	return s, name
}

func TestFaultAnswersInstead(t *testing.T) {
	s, name := faulty(t)
	remove := s.Own.Fault(-1, qdrantserver.Fault{
		Method: http.MethodPost, Path: "/snapshots$", Skip: 1, Times: 2, Status: http.StatusInternalServerError,
		Body: `{"status":{"error":"Service internal error: No space left on device (os error 28)"}}`, Header: http.Header{"Retry-After": {"7"}},
	})
	var got []int
	for range 4 {
		resp, text := ask(t, s, http.MethodPost, "/collections/"+name+"/snapshots")
		got = append(got, resp.StatusCode)
		if resp.StatusCode == http.StatusInternalServerError && (resp.Header.Get("Retry-After") != "7" || resp.Header.Get("Content-Type") != "application/json" || !bytes.Contains(text, []byte("os error 28"))) {
			t.Errorf("%v %s", resp.Header, text)
		}
	}
	if diff := cmp.Diff([]int{200, 500, 500, 200}, got); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	remove()
	if got := s.Own.Requests(); !strings.HasPrefix(strings.Join(got[len(got)-1:], ""), "POST /collections/"+name+"/snapshots") {
		t.Errorf("requests end with %s", got[len(got)-1])
	}
}

func TestFaultCuts(t *testing.T) {
	s, name := faulty(t)
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	file, stream := "/collections/"+name+"/snapshots/"+made.Name, "/collections/"+name+"/shards/0/snapshot"
	for _, path := range []string{file, stream} {
		whole := get(t, s, path)
		s.Own.Fault(0, qdrantserver.Fault{Path: path + "$", Times: 1, CutAfter: 5000})
		if _, body, err := tryAsk(t, s, 0, http.MethodGet, path); err == nil || len(body) > 5000 {
			t.Errorf("%s: %d bytes, %v", path, len(body), err)
		}
		s.Own.Fault(0, qdrantserver.Fault{Path: path + "$", Times: 1, CutAfter: 5000, Clean: true})
		if resp, body, err := tryAsk(t, s, 0, http.MethodGet, path); err != nil || resp.StatusCode != http.StatusOK || len(body) != 5000 {
			t.Errorf("%s: %d bytes, %v", path, len(body), err)
		}
		if path == stream {
			continue // every stream is another one
		}
		s.Own.Fault(0, qdrantserver.Fault{Path: path + "$", Times: 1, Corrupt: 700})
		body := get(t, s, path)
		var differ []int
		for i := range body {
			if body[i] != whole[i] {
				differ = append(differ, i)
			}
		}
		if diff := cmp.Diff([]int{700}, differ); diff != "" {
			t.Errorf("offsets (-want +got):\n%s", diff)
		}
	}
}

func TestFaultDropsAnswers(t *testing.T) {
	s, name := faulty(t)
	list := func() int {
		return len(read[[]snapshotInfo](t, s.Do(t, http.MethodGet, "/collections/"+name+"/snapshots", nil)))
	}
	s.Own.Fault(0, qdrantserver.Fault{Method: http.MethodPost, Path: "/snapshots$", Times: 1, DropAnswer: true})
	if _, _, err := tryAsk(t, s, 0, http.MethodPost, "/collections/"+name+"/snapshots"); err == nil || list() != 1 {
		t.Errorf("%v, %d snapshots", err, list())
	}
	other := s.Name(t, "late")
	s.Fill(t, other, nil, 1, 2)
	s.Own.Fault(0, qdrantserver.Fault{Method: http.MethodPost, Path: "/shards/0/snapshots$", Times: 1, DropAnswer: true, Late: 200 * time.Millisecond})
	path := "/collections/" + other + "/shards/0/snapshots"
	if _, _, err := tryAsk(t, s, 0, http.MethodPost, path); err == nil {
		t.Error("answered")
	}
	if got := string(s.Do(t, http.MethodGet, path, nil)); got != "[]" {
		t.Errorf("too early: %s", got)
	}
	eventually(t, "the snapshot appears", func() (bool, string) {
		got := string(s.Do(t, http.MethodGet, path, nil))
		return got != "[]", got
	})
}

func TestFaultHooksAndHang(t *testing.T) {
	s, name := faulty(t)
	var order []string
	s.Own.Fault(0, qdrantserver.Fault{
		Path: "/shards/0/snapshot$", Times: 1, Delay: time.Millisecond, Before: func() { order = append(order, "before") },
		During: func() {
			order = append(order, "during")
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", M{"points": []int{0, 1, 2, 3}})
		},
	})
	archive := get(t, s, "/collections/"+name+"/shards/0/snapshot")
	if diff := cmp.Diff([]string{"before", "during"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	// What is deleted while the stream runs is in it all the same.
	mustUpload(t, s, 0, "/collections/"+name+"/shards/0/snapshots/upload", archive)
	if n := count(t, s, 0, name); n != 10 {
		t.Errorf("%d points", n)
	}
	s.Own.Fault(0, qdrantserver.Fault{Path: "/collections$", Times: 1, Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URLs[0]+"/collections", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := plain.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a hanging call was answered")
	}
	get(t, s, "/collections")
}
