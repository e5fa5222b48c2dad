package qdrantserver

import (
	"bytes"
	"encoding/json"
	"maps"
)

// changeSelected reads a selection with more fields from the body and applies a change to what it means.
func (r *request) changeSelected(body any, sel *selection, do func(l *local, ids []pointID)) {
	err := r.body(body)
	if err == nil {
		err = sel.check()
	}
	if err != nil {
		r.fail(err)
		return
	}
	r.onCollection(true, func(col *collection) (any, error) {
		if err := r.n.c.writeSelected(col, sel, do); err != nil {
			return nil, err
		}
		return col.done(r), nil
	})
}

func (r *request) deletePoints() {
	var sel selection
	r.changeSelected(&sel, &sel, func(l *local, ids []pointID) { l.remove(ids) })
}

// update stores changed versions of points as one operation.
func (l *local) update(ids []pointID, change func(p *point)) {
	var changed []*point
	for _, id := range ids {
		p := *l.points[id].point
		p.vectors = maps.Clone(p.vectors)
		change(&p)
		changed = append(changed, &p)
	}
	l.put(changed)
}

type payloadChange struct {
	selection
	Payload json.RawMessage `json:"payload"`
	Keys    []string        `json:"keys"`
}

// setPayload adds the keys of the payload to those that are there.
func (r *request) setPayload() {
	var body payloadChange
	r.changeSelected(&body, &body.selection, func(l *local, ids []pointID) {
		l.update(ids, func(p *point) { p.mergePayload(body.Payload) })
	})
}

func (r *request) overwritePayload() {
	var body payloadChange
	r.changeSelected(&body, &body.selection, func(l *local, ids []pointID) {
		l.update(ids, func(p *point) {
			_ = p.setStored(nil)
			_ = p.setPayload(body.Payload)
		})
	})
}

func (r *request) deletePayload() {
	var body payloadChange
	r.changeSelected(&body, &body.selection, func(l *local, ids []pointID) {
		l.update(ids, func(p *point) {
			p.editPayload(func(keep object) { maps.DeleteFunc(keep, func(k string, _ any) bool { return inList(body.Keys, k) }) })
		})
	})
}

func (r *request) clearPayload() {
	var sel selection
	r.changeSelected(&sel, &sel, func(l *local, ids []pointID) {
		l.update(ids, func(p *point) { _ = p.setStored(nil) })
	})
}

func inList(list []string, s string) bool {
	for _, other := range list {
		if other == s {
			return true
		}
	}
	return false
}

// mergePayload keeps the order of keys: those that were there first, new ones behind them.
func (p *point) mergePayload(raw json.RawMessage) {
	more, err := normalJSON(raw)
	if err != nil || len(more) < 2 || more[0] != '{' {
		return
	}
	if p.payload == nil || string(p.payload) == "{}" {
		_ = p.setStored(more)
		return
	}
	if string(more) == "{}" {
		return
	}
	joined := bytes.Join([][]byte{p.payload[:len(p.payload)-1], more[1:]}, []byte(","))
	if joined, err = rewriteJSON(joined, verbatim); err == nil {
		_ = p.setStored(joined)
	}
}

func (p *point) editPayload(edit func(object)) {
	if p.tree == nil {
		return
	}
	tree := maps.Clone(p.tree)
	edit(tree)
	_ = p.setStored(encode(tree))
}

// putVectors replaces vectors of points that exist.
func (r *request) putVectors() {
	var body struct {
		Points []pointJSON `json:"points"`
		Key    keySelector `json:"shard_key"`
	}
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	points, err := parsePoints(body.Points)
	if err != nil {
		r.fail(err)
		return
	}
	r.onCollection(true, func(col *collection) (any, error) {
		kinds := kindsOf(col.params())
		byID := map[pointID]map[string]vector{}
		sel := selection{Key: body.Key}
		for _, p := range points {
			for name, v := range p.vectors {
				kind, ok := kinds[name]
				if !ok {
					return nil, badInput("Not existing vector name error: %s", name)
				}
				if p.vectors[name], err = kind.prepare(v); err != nil {
					return nil, err
				}
			}
			byID[p.id] = p.vectors
			sel.Points = append(sel.Points, p.id)
		}
		err := r.n.c.writeSelected(col, &sel, func(l *local, ids []pointID) {
			l.update(ids, func(p *point) { maps.Copy(p.vectors, byID[p.id]) })
		})
		return col.done(r), err
	})
}

func (r *request) deleteVectors() {
	var body struct {
		selection
		Vector []string `json:"vector"`
	}
	r.changeSelected(&body, &body.selection, func(l *local, ids []pointID) {
		l.update(ids, func(p *point) {
			for _, name := range body.Vector {
				delete(p.vectors, name)
			}
		})
	})
}
