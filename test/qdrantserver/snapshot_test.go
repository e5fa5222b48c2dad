package qdrantserver_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

func TestDownloads(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "download")
	s.Fill(t, name, nil, 10, 2)
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	path := "/collections/" + name + "/snapshots/" + made.Name
	whole, body := ask(t, s, http.MethodGet, path)
	etag := whole.Header.Get("Etag")
	if whole.ContentLength != int64(made.Size) || etag == "" || whole.Header.Get("Accept-Ranges") != "bytes" || len(made.Created) != 19 {
		t.Errorf("header %v, description %+v", whole.Header, made)
	}
	for _, c := range []struct {
		header []string
		status int
		body   []byte
	}{
		{[]string{"Range", "bytes=100-199"}, http.StatusPartialContent, body[100:200]},
		{[]string{"Range", "bytes=-7"}, http.StatusPartialContent, body[len(body)-7:]},
		{[]string{"Range", "bytes=0-"}, http.StatusOK, body},
		{[]string{"Range", "bytes=999999999-"}, http.StatusRequestedRangeNotSatisfiable, nil},
		// If-Range is not looked at: what has changed is sent in part all the same. If-Match is.
		{[]string{"Range", "bytes=100-199", "If-Range", `"another"`}, http.StatusPartialContent, body[100:200]},
		{[]string{"Range", "bytes=100-199", "If-Match", `"another"`}, http.StatusPreconditionFailed, nil},
		{[]string{"Range", "bytes=100-199", "If-Match", etag}, http.StatusPartialContent, body[100:200]},
		{[]string{"Range", "bytes=100-199", "Accept-Encoding", "gzip"}, http.StatusPartialContent, body[100:200]},
	} {
		if resp, got := ask(t, s, http.MethodGet, path, c.header...); resp.StatusCode != c.status || !bytes.Equal(got, c.body) {
			t.Errorf("%v: %s with %d bytes", c.header, resp.Status, len(got))
		}
	}
	resp, packed := ask(t, s, http.MethodGet, path, "Accept-Encoding", "gzip")
	if resp.Header.Get("Content-Encoding") != "gzip" || resp.ContentLength >= 0 {
		t.Fatalf("compressed: %v, length %d", resp.Header, resp.ContentLength)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := io.ReadAll(r); err != nil || !bytes.Equal(unpacked, body) {
		t.Errorf("%d bytes out of gzip, %v", len(unpacked), err)
	}
	if resp, _ := ask(t, s, http.MethodGet, "/collections/"+name+"/shards/0/snapshot"); resp.ContentLength >= 0 || resp.Header.Get("Accept-Ranges") != "" {
		t.Errorf("stream: %v, length %d", resp.Header, resp.ContentLength)
	}
	for _, missing := range []string{path + "x", "/collections/" + name + "/snapshots/..%2fx", "/collections/" + name + "/shards/0/snapshots/none", "/collections/" + name + "/shards/7/snapshot"} {
		if resp, text := ask(t, s, http.MethodGet, missing); resp.StatusCode != http.StatusNotFound || bytes.HasPrefix(text, []byte("{")) {
			t.Errorf("%s: %s %s", missing, resp.Status, text)
		}
	}
}

func TestWaitFalse(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "wait")
	s.Fill(t, name, nil, 3, 2)
	if got := want(t, s, http.StatusAccepted, http.MethodPost, "/collections/"+name+"/snapshots?wait=false", nil); !strings.Contains(got, `"status":"accepted"`) {
		t.Error(got)
	}
	eventually(t, "snapshots", func() (bool, string) {
		list := string(s.Do(t, http.MethodGet, "/collections/"+name+"/snapshots", nil))
		return strings.Contains(list, name), list
	})
}

func TestUploadsLeaveTheArchive(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "left")
	s.Fill(t, name, nil, 10, 2)
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	whole := get(t, s, "/collections/"+name+"/snapshots/"+made.Name)
	part := get(t, s, "/collections/"+name+"/shards/0/snapshot")
	mustUpload(t, s, 0, "/collections/"+name+"-new/snapshots/upload?priority=snapshot", whole)
	left := read[[]snapshotInfo](t, s.Do(t, http.MethodGet, "/collections/"+name+"-new/snapshots", nil))
	if len(left) != 1 || left[0].Name != "uploaded.snapshot" || left[0].Checksum != "" {
		t.Errorf("left after a collection: %+v", left)
	}
	if status, text := upload(t, s, 0, "/collections/"+name+"/shards/0/snapshots/upload?priority=snapshot", part); status != http.StatusOK || !strings.HasPrefix(text, `{"result":null,"status":"ok"`) {
		t.Errorf("%d %s", status, text)
	}
	if left := s.Do(t, http.MethodGet, "/collections/"+name+"/shards/0/snapshots", nil); string(left) != "[]" {
		t.Errorf("left after a shard: %s", left)
	}
	// The name of an alias writes into the collection behind it, and leaves the archive where nobody finds it.
	alias := name + "-alias"
	s.Do(t, http.MethodPost, "/collections/aliases", M{"actions": []M{{"create_alias": M{"collection_name": name + "-new", "alias_name": alias}}}})
	s.Do(t, http.MethodPost, "/collections/"+name+"-new/points/delete?wait=true", M{"points": []int{1}})
	mustUpload(t, s, 0, "/collections/"+alias+"/snapshots/upload?priority=snapshot", whole)
	if n := count(t, s, 0, name+"-new"); n != 10 {
		t.Errorf("%d points behind the alias", n)
	}
	if s.Own != nil {
		if _, err := os.Stat(filepath.Join(s.Own.SnapshotsPath(0), alias, "uploaded.snapshot")); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusedUploads(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "refused")
	s.Fill(t, name, nil, 20, 2)
	wanted := s.Image(t, name)
	stream := get(t, s, "/collections/"+name+"/shards/0/snapshot")
	shard := "/collections/" + name + "/shards/0/snapshots/upload"
	zeros := strings.Repeat("0", 64)
	for _, c := range []struct {
		what, path string
		archive    []byte
		status     int
	}{
		{"another checksum", shard + "?checksum=" + zeros, stream, http.StatusBadRequest},
		{"no checksum at all", shard + "?checksum=zz", stream, http.StatusBadRequest},
		// Refused before the body is read, so a large one may meet a closed connection.
		{"no checksum at all", "/collections/" + name + "/snapshots/upload?checksum=zz", nil, http.StatusUnprocessableEntity},
		{"no priority", shard + "?priority=zz", stream, http.StatusBadRequest},
		{"half", shard, stream[:len(stream)/2], http.StatusInternalServerError},
		{"no trailer", shard, stream[:bytes.Index(stream, []byte("replica_state.json"))], http.StatusInternalServerError},
		{"nothing", shard, nil, http.StatusInternalServerError},
		{"junk", shard, bytes.Repeat([]byte("junk"), 500), http.StatusInternalServerError},
		{"unknown shard", "/collections/" + name + "/shards/9/snapshots/upload", stream, http.StatusNotFound},
		{"unknown collection", "/collections/" + name + "-none/shards/0/snapshots/upload", stream, http.StatusNotFound},
		{"a shard as a collection", "/collections/" + name + "-other/snapshots/upload", stream, http.StatusInternalServerError},
	} {
		if status, text := upload(t, s, 0, c.path, c.archive); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.what, status, text, c.status)
		}
	}
	if got := s.Image(t, name); got != wanted {
		t.Error("a refused upload has changed the collection")
	}
	// Without the marker at its end an archive is as good as any.
	mustUpload(t, s, 0, shard, stream[:len(stream)-1024])
	if got := s.Image(t, name); got != wanted {
		t.Error("recovered something else")
	}
}

func TestFailedRecoveryDestroys(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "destroyed")
	s.Fill(t, name, nil, 20, 2)
	wanted := s.Image(t, name)
	stream := get(t, s, "/collections/"+name+"/shards/0/snapshot")
	broken := bytes.Clone(stream)
	at := bytes.Index(broken, []byte("/segment.json"))
	broken[at/512*512+512] = '#' // the first byte of its content
	path := "/collections/" + name + "/shards/0/snapshots/upload?priority=snapshot"
	if status, text := upload(t, s, 0, path, broken); status != http.StatusInternalServerError {
		t.Fatalf("%d %s", status, text)
	}
	if got := want(t, s, http.StatusInternalServerError, http.MethodPost, "/collections/"+name+"/points/count", M{"exact": true}); !strings.Contains(got, "Failed to restore local replica") {
		t.Error(got)
	}
	want(t, s, http.StatusInternalServerError, http.MethodGet, "/collections/"+name, nil)
	want(t, s, http.StatusInternalServerError, http.MethodPost, "/collections/"+name+"/snapshots", nil)
	mustUpload(t, s, 0, path, stream)
	if got := s.Image(t, name); got != wanted {
		t.Error("recovered something else")
	}
}

// A member that is missing is not always missed, and nothing compares the vectors.
func TestWhatRecoveryDoesNotNotice(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "unnoticed")
	s.Fill(t, name, nil, 0, 2)
	for at := range 10 { // so that there are points in every segment
		s.FillKey(t, name, nil, 2*at, 2)
	}
	stream := get(t, s, "/collections/"+name+"/shards/0/snapshot")
	mustUpload(t, s, 0, "/collections/"+name+"/shards/0/snapshots/upload", withoutFile(stream, "version.info"))
	if n := count(t, s, 0, name); n == 20 {
		t.Errorf("%d points although a segment has no version", n)
	}
	s.Do(t, http.MethodPut, "/collections/"+name+"-other", M{"vectors": M{"size": 9, "distance": "Dot"}})
	mustUpload(t, s, 0, "/collections/"+name+"-other/shards/0/snapshots/upload", stream)
	if n := count(t, s, 0, name+"-other"); n != 20 {
		t.Errorf("%d points with vectors of another length", n)
	}
}

// withoutFile leaves the first member of this name that is not empty out of an archive.
func withoutFile(archive []byte, name string) []byte {
	for at := 0; at+1024 <= len(archive); at += 512 {
		h := archive[at : at+512]
		if string(h[257:263]) == "ustar " && strings.HasSuffix(strings.TrimRight(string(h[:100]), "\x00"), "/"+name) {
			return append(bytes.Clone(archive[:at]), archive[at+1024:]...)
		}
	}
	return archive
}

func TestRecover(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "recover")
	s.Fill(t, name, nil, 20, 2)
	wanted := s.Image(t, name)
	made := makeSnapshot(t, s, "/collections/"+name+"/shards/0/snapshots")
	path := "/collections/" + name + "/shards/0/snapshots/recover"
	spoil := func() {
		s.Do(t, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", M{"points": []int{1}})
	}
	source := s.URLs[0] + "/collections/" + name + "/shards/0/snapshots/" + made.Name
	for _, location := range []string{made.Name, source} {
		spoil()
		if got := s.Do(t, http.MethodPut, path, M{"location": location, "priority": "snapshot", "checksum": made.Checksum, "api_key": s.APIKey}); string(got) != "true" {
			t.Errorf("%s: %s", location, got)
		}
		if s.Image(t, name) != wanted {
			t.Errorf("%s: recovered something else", location)
		}
	}
	for _, c := range []struct {
		body   M
		status int
		text   string
	}{
		{M{"location": "none.snapshot"}, http.StatusNotFound, "Not found: Snapshot"},
		{M{"location": "file:///x.snapshot"}, http.StatusBadRequest, "URLs with file scheme are not supported"},
		{M{"location": made.Name, "checksum": strings.Repeat("0", 64)}, http.StatusBadRequest, "Snapshot checksum mismatch"},
		{M{"location": made.Name, "checksum": "zz"}, http.StatusUnprocessableEntity, "invalid_sha256_hash"},
		{M{"location": source + "x"}, http.StatusBadRequest, "Failed to download tar"},
		{M{"location": "http://127.0.0.1:1/x"}, http.StatusInternalServerError, "error sending request"},
		{M{}, http.StatusBadRequest, "missing field `location`"},
	} {
		if got := want(t, s, c.status, http.MethodPut, path, c.body); !strings.Contains(got, c.text) {
			t.Errorf("%v: %s", c.body, got)
		}
	}
	for location, status := range map[string]int{"file:///etc/hostname": http.StatusForbidden, "file:///no/such/file": http.StatusBadRequest, "ftp://x/y": http.StatusBadRequest} {
		want(t, s, status, http.MethodPut, "/collections/"+name+"/snapshots/recover", M{"location": location})
	}
}

func TestOptionsOfSnapshots(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{S3Snapshots: true, NoURLRecovery: true})
	name := s.Name(t, "s3")
	s.Fill(t, name, nil, 3, 2)
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	if made.Checksum != "" {
		t.Errorf("%+v", made)
	}
	path := "/collections/" + name + "/snapshots/" + made.Name
	resp, body := ask(t, s, http.MethodGet, path, "Range", "bytes=0-9")
	if resp.StatusCode != http.StatusOK || resp.ContentLength >= 0 || len(body) != made.Size {
		t.Errorf("%s, length %d, %d bytes", resp.Status, resp.ContentLength, len(body))
	}
	// There are no folders in a bucket: a shard's snapshot is in the list of the collection.
	makeSnapshot(t, s, "/collections/"+name+"/shards/0/snapshots")
	if list := read[[]snapshotInfo](t, s.Do(t, http.MethodGet, "/collections/"+name+"/snapshots", nil)); len(list) != 2 {
		t.Errorf("%+v", list)
	}
	want(t, s, http.StatusForbidden, http.MethodPut, "/collections/"+name+"/snapshots/recover", M{"location": s.URLs[0] + path})
	// What was uploaded stays on the disk, where the bucket does not know of it.
	mustUpload(t, s, 0, "/collections/"+name+"-new/snapshots/upload", body)
	if list := s.Do(t, http.MethodGet, "/collections/"+name+"-new/snapshots", nil); string(list) != "[]" {
		t.Errorf("%s", list)
	}
}

func TestFullSnapshots(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	name := s.Name(t, "full")
	s.Fill(t, name, nil, 3, 2)
	made := makeSnapshot(t, s, "/snapshots")
	_, content, _ := members(t, get(t, s, "/snapshots/"+made.Name))
	var config struct {
		Mapping map[string]string `json:"collections_mapping"`
	}
	if err := json.Unmarshal([]byte(content["config.json"]), &config); err != nil || content[config.Mapping[name]] == "" {
		t.Errorf("%v %v", config, err)
	}
	if list := s.Do(t, http.MethodGet, "/collections/"+name+"/snapshots", nil); string(list) != "[]" {
		t.Errorf("the collection's snapshot stays: %s", list)
	}
	s.Do(t, http.MethodDelete, "/snapshots/"+made.Name, nil)
}

func TestManySmallCollections(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	prefix := s.Name(t, "many")
	for i := range 1000 {
		name := fmt.Sprint(prefix, "-", i)
		s.Do(t, http.MethodPut, "/collections/"+name, M{"vectors": M{"size": 4, "distance": "Dot"}})
		s.Do(t, http.MethodPut, "/collections/"+name+"/points?wait=true", `{"points":[{"id":1,"vector":[1,2,3,4]}]}`)
		s.Do(t, http.MethodPost, "/collections/"+name+"/shards/0/snapshots", nil)
	}
}
