package qdrantserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// M is a JSON object.
type M = map[string]any

// plain does not ask for compression, and does not undo it.
var plain = &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}

// ask makes a request to the first node; headers are pairs.
func ask(t *testing.T, s *qdranttest.Server, method, path string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	resp, body, err := tryAsk(t, s, 0, method, path, headers...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, body
}

func tryAsk(t *testing.T, s *qdranttest.Server, node int, method, path string, headers ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URLs[node]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.APIKey != "" {
		req.Header.Set("api-key", s.APIKey)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := plain.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// get fetches a path of the first node and fails unless that works.
func get(t *testing.T, s *qdranttest.Server, path string) []byte {
	t.Helper()
	return getNode(t, s, 0, path)
}

func getNode(t *testing.T, s *qdranttest.Server, node int, path string) []byte {
	t.Helper()
	resp, body, err := tryAsk(t, s, node, http.MethodGet, path)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("GET %s: %v %s %v", path, resp, body, err)
	}
	return body
}

// upload sends an archive to an upload path of a node and returns the answer.
func upload(t *testing.T, s *qdranttest.Server, node int, path string, archive []byte) (int, string) {
	t.Helper()
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("snapshot", "uploaded.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = part.Write(archive)
	_ = w.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URLs[node]+path, &form)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	if s.APIKey != "" {
		req.Header.Set("api-key", s.APIKey)
	}
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// mustUpload fails unless the upload works.
func mustUpload(t *testing.T, s *qdranttest.Server, node int, path string, archive []byte) {
	t.Helper()
	if status, text := upload(t, s, node, path, archive); status != http.StatusOK {
		t.Fatalf("upload to %s: %d %s", path, status, text)
	}
}

// read decodes a result.
func read[T any](t *testing.T, result json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(result, &v); err != nil {
		t.Fatalf("decode %.200s: %v", result, err)
	}
	return v
}

// want fails unless a call has this status; it returns the answer.
func want(t *testing.T, s *qdranttest.Server, status int, method, path string, body any) string {
	t.Helper()
	return wantNode(t, s, 0, status, method, path, body)
}

func wantNode(t *testing.T, s *qdranttest.Server, node, status int, method, path string, body any) string {
	t.Helper()
	got, result, err := s.TryNode(node, method, path, body)
	if err != nil || got != status {
		t.Fatalf("%s %s: %d %s %v, want %d", method, path, got, result, err, status)
	}
	return string(result)
}

func count(t *testing.T, s *qdranttest.Server, node int, name string) int {
	t.Helper()
	return read[struct{ Count int }](t, json.RawMessage(wantNode(t, s, node, http.StatusOK, http.MethodPost, "/collections/"+name+"/points/count", M{"exact": true}))).Count
}

// snapshotInfo describes a snapshot.
type snapshotInfo struct {
	Name     string
	Size     int
	Checksum string
	Created  string `json:"creation_time"`
}

func makeSnapshot(t *testing.T, s *qdranttest.Server, path string) snapshotInfo {
	t.Helper()
	return read[snapshotInfo](t, s.Do(t, http.MethodPost, path, nil))
}

// eventually waits until a condition holds; what it says then is why it does not.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	var why string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var ok bool
		if ok, why = holds(); ok {
			return
		}
	}
	t.Fatalf("%s: %s", what, why)
}

type clusterInfo struct {
	Peer  uint64     `json:"peer_id"`
	Local []shardRow `json:"local_shards"`
	Other []shardRow `json:"remote_shards"`
}

type shardRow struct {
	ID    int    `json:"shard_id"`
	Key   any    `json:"shard_key"`
	State string `json:"state"`
	Peer  uint64 `json:"peer_id"`
}

func clusterOf(t *testing.T, s *qdranttest.Server, node int, name string) clusterInfo {
	t.Helper()
	return read[clusterInfo](t, json.RawMessage(wantNode(t, s, node, http.StatusOK, http.MethodGet, "/collections/"+name+"/cluster", nil)))
}

// states are the states of a shard's replicas, the local one first.
func (c clusterInfo) states(shard int) string {
	out := ""
	for _, list := range [][]shardRow{c.Local, c.Other} {
		for _, r := range list {
			if r.ID == shard {
				out += fmt.Sprint(r.State, " ")
			}
		}
	}
	return out
}
