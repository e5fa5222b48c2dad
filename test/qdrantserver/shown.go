package qdrantserver

import (
	"encoding/json"
	"slices"
	"strings"
)

// wanted is with_payload or with_vector: everything, nothing, or some names.
type wanted struct {
	all     bool
	include []string
	exclude []string
	some    bool
}

func (s *wanted) UnmarshalJSON(text []byte) error {
	var list []string
	switch {
	case json.Unmarshal(text, &s.all) == nil:
		return nil
	case json.Unmarshal(text, &list) == nil:
		s.some, s.include = true, list
		return nil
	}
	var sel struct {
		Include []string `json:"include"`
		Exclude []string `json:"exclude"`
	}
	if err := strictJSON(text, &sel); err != nil {
		return err
	}
	s.some, s.include, s.exclude = true, sel.Include, sel.Exclude
	return nil
}

// payload is what of a payload is shown; nil means nothing.
func (s wanted) payload(p *point) json.RawMessage {
	switch {
	case s.all && p.payload != nil:
		return p.payload
	case s.all || s.some && p.payload == nil:
		return json.RawMessage("{}")
	case !s.some:
		return nil
	}
	kept := object{}
	for name, value := range p.tree {
		if s.exclude != nil && !inList(s.exclude, name) || s.exclude == nil && coversField(s.include, name) {
			kept[name] = value
		}
	}
	return encode(kept)
}

func coversField(list []string, name string) bool {
	return slices.ContainsFunc(list, func(path string) bool {
		return path == name || strings.HasPrefix(path, name+".") || strings.HasPrefix(path, name+"[")
	})
}

// vector is what of the vectors is shown; nil means nothing.
func (s wanted) vector(p *point) any {
	if !s.all && !s.some {
		return nil
	}
	if s.all && len(p.vectors) == 1 {
		if v, unnamed := p.vectors[""]; unnamed {
			return v
		}
	}
	shown := map[string]vector{}
	for name, v := range p.vectors {
		if s.all || inList(s.include, name) {
			shown[name] = v
		}
	}
	if v, unnamed := shown[""]; unnamed && len(shown) == 1 {
		return v
	}
	return shown
}

// record is a point as reads return it.
type record struct {
	*point
	key any
}

func (rec record) show(withPayload, withVector wanted) object {
	o := object{"id": rec.id}
	if payload := withPayload.payload(rec.point); payload != nil {
		o["payload"] = payload
	}
	if v := withVector.vector(rec.point); v != nil {
		o["vector"] = v
	}
	if rec.key != nil {
		o["shard_key"] = rec.key
	}
	return o
}
