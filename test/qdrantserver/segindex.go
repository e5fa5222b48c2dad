package qdrantserver

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// indexList is the file that says which payload indexes a segment has, and in which folders.
const indexList = "payload_index/config.json"

// indexFields makes the files of payload indexes agree with the fields that are indexed. Nothing reads what is in them;
// they are here because archives have them, under names that are too long for the header of a tar member.
func (s *segment) indexFields(fields []string) {
	var list struct {
		Indices map[string]string `json:"indices"`
	}
	if f := s.files[indexList]; f != nil {
		_ = json.Unmarshal(f.data, &list) // a list that cannot be read is written anew
	}
	have := map[string]string{}
	for field, dir := range list.Indices {
		if slices.Contains(fields, field) {
			have[field] = dir
			continue
		}
		maps.DeleteFunc(s.files, func(name string, _ *file) bool { return strings.HasPrefix(name, dir+"/") })
	}
	for _, field := range fields {
		if have[field] == "" {
			have[field] = "payload_index/" + strings.ReplaceAll(newUUID(), "-", "")[:24] + "-" + field + "-map"
		}
		s.fillIndex(have[field])
	}
	if text := encode(object{"indices": have}); s.files[indexList] == nil || !bytes.Equal(text, s.files[indexList].data) {
		s.files[indexList] = newFile(text, 0)
	}
}

// fillIndex writes the files of one index, those that changed.
func (s *segment) fillIndex(dir string) {
	var ids []byte
	for _, id := range s.ids {
		ids = append(ids, id.bytes()...)
	}
	page := s.files[dir+"/page_0.dat"]
	if page == nil {
		s.files[dir+"/tracker.dat"] = newFile([]byte{1}, trackerSize)
		s.files[dir+"/bitmask.dat"] = newFile(nil, maskSize)
		s.files[dir+"/gaps.dat"] = newFile(bytes.Repeat([]byte{8, 0, 0}, 64), 0)
		s.files[dir+"/config.json"] = newFile([]byte(`{"page_size_bytes":65536,"block_size_bytes":8,"region_size_blocks":8192,"compression":"None"}`), 0)
		s.files[dir+"/page_0.dat"] = newFile(ids, max(trackerSize, int64(len(ids))))
		return
	}
	if !bytes.Equal(bytes.TrimRight(page.data, "\x00"), bytes.TrimRight(ids, "\x00")) {
		s.files[dir+"/page_0.dat"] = newFile(ids, max(trackerSize, int64(len(ids))))
	}
}
