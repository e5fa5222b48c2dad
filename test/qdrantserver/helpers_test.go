package qdrantserver_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"testing"

	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

var plain = &http.Client{Transport: &http.Transport{DisableCompression: true}}

// get fetches a path of the first node and fails unless that works.
func get(t *testing.T, s *qdranttest.Server, path string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	resp, body := ask(t, s, http.MethodGet, path, header)
	if resp.StatusCode/100 != 2 {
		t.Fatalf("GET %s: %s %s", path, resp.Status, body)
	}
	return resp, body
}

func ask(t *testing.T, s *qdranttest.Server, method, path string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URLs[0]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if s.APIKey != "" && req.Header.Get("Api-Key") == "" {
		req.Header.Set("Api-Key", s.APIKey)
	}
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return resp, body
}

// upload sends an archive to an upload path of the first node and expects a status.
func upload(t *testing.T, s *qdranttest.Server, path string, archive []byte, want int) string {
	t.Helper()
	return uploadTo(t, s, 0, path, archive, want)
}

func uploadTo(t *testing.T, s *qdranttest.Server, node int, path string, archive []byte, want int) string {
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
		req.Header.Set("Api-Key", s.APIKey)
	}
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != want {
		t.Fatalf("upload to %s: %s %s, want %d", path, resp.Status, text, want)
	}
	return string(text)
}
