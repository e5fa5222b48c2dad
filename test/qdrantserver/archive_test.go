package qdrantserver_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// members unpacks an archive, nested ones too, into content by path; the names come in their order.
func members(t *testing.T, archive []byte) (names []string, content map[string]string, headers map[string]*tar.Header) {
	t.Helper()
	content, headers = map[string]string{}, map[string]*tar.Header{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, content, headers
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, ".tar") {
			inner, nested, heads := members(t, data)
			for _, name := range inner {
				names = append(names, h.Name+"/"+name)
				content[h.Name+"/"+name], headers[h.Name+"/"+name] = nested[name], heads[name]
			}
			continue
		}
		names = append(names, h.Name)
		content[h.Name], headers[h.Name] = string(data), h
	}
}

func shardSnapshot(t *testing.T, s *qdranttest.Server, name string) []byte {
	t.Helper()
	made := makeSnapshot(t, s, "/collections/"+name+"/shards/0/snapshots")
	path := "/collections/" + name + "/shards/0/snapshots/" + made.Name
	archive := get(t, s, path)
	if sum := sha256.Sum256(archive); hex.EncodeToString(sum[:]) != made.Checksum || len(archive) != made.Size {
		t.Errorf("%d bytes with another checksum than %+v", len(archive), made)
	}
	s.Do(t, http.MethodDelete, path, nil)
	return archive
}

func TestArchiveLayout(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "layout")
	s.Fill(t, name, everyKind, 30, 0)
	s.Do(t, http.MethodPut, "/collections/"+name+"/index?wait=true", M{"field_name": "city", "field_schema": "keyword"})
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	for form, archive := range map[string][]byte{
		"stream": get(t, s, "/collections/"+name+"/shards/0/snapshot"), "shard": shardSnapshot(t, s, name),
		"collection": get(t, s, "/collections/"+name+"/snapshots/"+made.Name),
	} {
		names, content, headers := members(t, archive)
		prefix, segments := "", "snapshot/files/"
		if form == "collection" {
			prefix = "0/"
			if last := names[len(names)-4:]; !slices.Equal(last, []string{"version.info", "config.json", "shard_key_mapping.json", "payload_index.json"}) {
				t.Errorf("collection: last members are %v", last)
			}
			if content["shard_key_mapping.json"] != "[]" || content["version.info"] != "0.4.2" || content["payload_index.json"] != `{"schema":{"city":"keyword"}}` {
				t.Errorf("collection: %q %q %q", content["shard_key_mapping.json"], content["version.info"], content["payload_index.json"])
			}
		} else if last := names[len(names)-2:]; !slices.Equal(last, []string{"replica_state.json", "shard_config.json"}) {
			t.Errorf("%s: last members are %v", form, last)
		}
		if form == "stream" {
			segments = "/files/"
		}
		if content[prefix+"shard_config.json"] != `{"type":"ReplicaSet"}` || !strings.HasPrefix(content[prefix+"replica_state.json"], `{"is_local":true,"this_peer_id":`) {
			t.Errorf("%s: %q %q", form, content[prefix+"shard_config.json"], content[prefix+"replica_state.json"])
		}
		sparse, long, files := 0, 0, 0
		for _, n := range names {
			if headers[n].Typeflag == tar.TypeGNUSparse {
				sparse++
			}
			if len(headers[n].Name) > 100 {
				long++
			}
			if strings.Contains(n, segments+"version.info") {
				files++
			}
		}
		if sparse < 20 || files < 2 || form == "stream" && long == 0 {
			t.Errorf("%s: %d sparse members, %d segments, %d long names", form, sparse, files, long)
		}
		if end := archive[len(archive)-1024:]; !bytes.Equal(end, make([]byte, 1024)) {
			t.Errorf("%s has no end marker", form)
		}
	}
}

// Own archives have what is rare in real ones: a sparse map that goes on behind the header.
func TestSparseMapsGoOn(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	name := s.Name(t, "holes")
	s.Fill(t, name, nil, 10, 2)
	archive := get(t, s, "/collections/"+name+"/shards/0/snapshot")
	extended := 0
	for at := 0; at+512 <= len(archive); at += 512 {
		if h := archive[at : at+512]; string(h[257:263]) == "ustar " && h[156] == 'S' && h[482] == 1 {
			extended++
		}
	}
	if extended == 0 {
		t.Error("no member has more than four pieces")
	}
}

func TestUnchangedSegmentsStayTheSame(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	name := s.Name(t, "same")
	s.Fill(t, name, everyKind, 200, 0)
	s.Own.Optimize(name)
	first := filesOf(t, get(t, s, "/collections/"+name+"/shards/0/snapshot"))
	second := filesOf(t, get(t, s, "/collections/"+name+"/shards/0/snapshot"))
	if diff := cmp.Diff(first, second); diff != "" {
		t.Fatalf("nothing was written between the two (-first +second):\n%.2000s", diff)
	}
	// A change moves the point: of the optimised segment only the mask of deleted points changes, and its description.
	s.Do(t, http.MethodPost, "/collections/"+name+"/points/payload?wait=true", M{"points": []int{7}, "payload": M{"city": "Rome"}})
	third := filesOf(t, get(t, s, "/collections/"+name+"/shards/0/snapshot"))
	optimised := ""
	for n := range first {
		if i := strings.Index(n, "vector_index-dense/graph.bin"); i > 0 {
			optimised = n[:i]
		}
	}
	var changed []string
	for n, sum := range first {
		if strings.HasPrefix(n, optimised) && third[n] != sum {
			changed = append(changed, strings.TrimPrefix(n, optimised))
		}
	}
	slices.Sort(changed)
	if diff := cmp.Diff([]string{"id_tracker.deleted", "segment.json"}, changed); diff != "" {
		t.Errorf("changed files of %q (-want +got):\n%s", optimised, diff)
	}
	s.Own.Optimize(name)
	fourth := filesOf(t, get(t, s, "/collections/"+name+"/shards/0/snapshot"))
	for n := range fourth {
		if strings.HasPrefix(n, optimised) {
			t.Fatalf("%s outlives the optimizer", n)
		}
	}
}

// filesOf are the sums of the members of segments.
func filesOf(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	names, content, headers := members(t, archive)
	sums := map[string]string{}
	for _, n := range names {
		if strings.HasPrefix(n, "segments/") {
			sum := sha256.Sum256([]byte(content[n]))
			sums[n] = headers[n].ModTime.String() + hex.EncodeToString(sum[:4])
		}
	}
	return sums
}

func TestShardRoundTrip(t *testing.T) {
	s := qdranttest.Shared(t)
	for how, take := range map[string]func(name string) []byte{
		"snapshot": func(name string) []byte { return shardSnapshot(t, s, name) },
		"stream":   func(name string) []byte { return get(t, s, "/collections/"+name+"/shards/0/snapshot") },
	} {
		t.Run(how, func(t *testing.T) {
			name := s.Name(t, how)
			s.Fill(t, name, everyKind, 60, 0)
			s.Do(t, http.MethodPut, "/collections/"+name+"/index?wait=true", M{"field_name": "city", "field_schema": "keyword"})
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", M{"points": []int{50, 51}})
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/payload/clear?wait=true", M{"points": []int{52}})
			wanted := s.Image(t, name)
			archive := take(name)
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", M{"points": []int{0, 1, 2}})
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/payload?wait=true", M{"points": []int{3, 5}, "payload": M{"city": "changed"}})
			mustUpload(t, s, 0, "/collections/"+name+"/shards/0/snapshots/upload?priority=snapshot", archive)
			if diff := cmp.Diff(wanted, s.Image(t, name)); diff != "" {
				t.Errorf("after recovery (-want +got):\n%s", diff)
			}
			// What was recovered takes writes, and can be archived again.
			s.Do(t, http.MethodPost, "/collections/"+name+"/points/delete?wait=true", M{"points": []int{0}})
			s.FillKey(t, name, nil, 0, 1)
			mustUpload(t, s, 0, "/collections/"+name+"/shards/0/snapshots/upload?priority=snapshot", take(name))
			if diff := cmp.Diff(wanted, s.Image(t, name)); diff != "" {
				t.Errorf("after the second recovery (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCollectionRoundTrip(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "whole")
	create := M{"shard_number": 2}
	for k, v := range everyKind {
		create[k] = v
	}
	s.Fill(t, name, create, 60, 0)
	s.Do(t, http.MethodPut, "/collections/"+name+"/index?wait=true", M{"field_name": "number", "field_schema": M{"type": "integer", "range": true, "lookup": false}})
	made := makeSnapshot(t, s, "/collections/"+name+"/snapshots")
	archive := get(t, s, "/collections/"+name+"/snapshots/"+made.Name)
	mustUpload(t, s, 0, "/collections/"+name+"-new/snapshots/upload?priority=snapshot&checksum="+made.Checksum, archive)
	if diff := cmp.Diff(s.Image(t, name), s.Image(t, name+"-new")); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	s.Do(t, http.MethodPut, "/collections/"+name+"-url/snapshots/recover", M{"location": s.URLs[0] + "/collections/" + name + "/snapshots/" + made.Name, "checksum": made.Checksum, "api_key": s.APIKey})
	if diff := cmp.Diff(s.Image(t, name), s.Image(t, name+"-url")); diff != "" {
		t.Errorf("restored from a URL (-want +got):\n%s", diff)
	}
}
