package qdrantserver

import (
	"slices"
)

// damaged says what of these points cannot be shown.
func damaged(list []record, withPayload, withVector wanted) error {
	for _, rec := range list {
		switch {
		case rec.badVector != nil && (withVector.all || withVector.some):
			return readFailed("task 1 panicked with message \"Vector not found\"")
		case rec.badPayload != nil && (withPayload.all || withPayload.some):
			return readFailed("task 1 panicked with message \"called `Result::unwrap()` on an `Err` value\"")
		}
	}
	return nil
}

// readFrom are the replicas that a read looks at. action is the word for it in errors.
func (c *Cluster) readFrom(col *collection, keys keySelector, self uint64, action string) ([]*shard, []*local, error) {
	shards := col.sortedShards()
	if keys.set {
		shards = nil
		for _, key := range keys.keys {
			some := col.shardsOf(key)
			if some == nil {
				return nil, nil, badRequest("Shard key %s not found", showKey(key))
			}
			shards = append(shards, some...)
		}
	}
	var found []*local
	var from []*shard
	for _, s := range shards {
		rep := c.readable(s, self)
		if rep == nil {
			if local := s.replicas[self]; local != nil && local.broken != "" {
				return nil, nil, readFailed("Failed to %s,  %s", action, local.broken)
			}
			if col.custom() && !keys.set {
				continue
			}
			return nil, nil, noReplica(s.id, self)
		}
		found, from = append(found, rep.local), append(from, s)
	}
	return from, found, nil
}

// scrolled is a page of points in the order of their ids. Of points with the same id in several shards there is one.
func (c *Cluster) scrolled(col *collection, keys keySelector, self uint64, offset *pointID, limit int, f *filter) ([]record, *pointID, error) {
	shards, locals, err := c.readFrom(col, keys, self, "Scroll")
	if err != nil {
		return nil, nil, err
	}
	var page []record
	for i, l := range locals {
		ids := l.ids()
		from := 0
		if offset != nil {
			from, _ = slices.BinarySearchFunc(ids, *offset, pointID.compare)
		}
		taken := 0
		for _, id := range ids[from:] {
			if p := l.points[id].point; f.matches(p) {
				page = append(page, record{p, shards[i].key})
				if taken++; taken > limit {
					break
				}
			}
		}
	}
	slices.SortStableFunc(page, func(a, b record) int { return a.id.compare(b.id) })
	page = slices.CompactFunc(page, func(a, b record) bool { return a.id == b.id })
	if len(page) > limit {
		return page[:limit], &page[limit].id, nil
	}
	return page, nil, nil
}

func (r *request) scrollPoints() {
	var body struct {
		Offset      *pointID    `json:"offset"`
		Limit       *int        `json:"limit"`
		Filter      *filter     `json:"filter"`
		WithPayload *wanted     `json:"with_payload"`
		WithVector  wanted      `json:"with_vector"`
		Key         keySelector `json:"shard_key"`
		OrderBy     any         `json:"order_by"`
	}
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	limit := 10
	if body.Limit != nil {
		limit = *body.Limit
	}
	if limit < 1 {
		r.fail(fail(kindInvalid, "Validation error in JSON body: [scroll_request.limit: value %d invalid, must be 1 or larger]", limit))
		return
	}
	if body.WithPayload == nil {
		body.WithPayload = &wanted{all: true}
	}
	var page []record
	var next *pointID
	_, err := r.n.c.locked(func() (any, error) {
		col, err := r.n.c.find(r.args[0])
		if err == nil {
			asked := 0 // a limit that was not asked for is not limited
			if body.Limit != nil {
				asked = limit
			}
			err = col.checkRead(asked, body.Filter, false, 1)
		}
		if err == nil {
			page, next, err = r.n.c.scrolled(col, body.Key, r.n.peer, body.Offset, limit, body.Filter)
		}
		return nil, err
	})
	if err == nil {
		err = damaged(page, *body.WithPayload, body.WithVector)
	}
	if err != nil {
		r.fail(err)
		return
	}
	points := make([]object, 0, len(page))
	for _, rec := range page {
		points = append(points, rec.show(*body.WithPayload, body.WithVector))
	}
	r.ok(object{"points": points, "next_page_offset": next})
}

func (r *request) countPoints() {
	var body struct {
		Filter *filter     `json:"filter"`
		Exact  *bool       `json:"exact"`
		Key    keySelector `json:"shard_key"`
	}
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	r.onCollection(false, func(col *collection) (any, error) {
		if err := col.checkRead(0, body.Filter, body.Exact == nil || *body.Exact, 1); err != nil {
			return nil, err
		}
		n, err := r.n.c.counted(col, body.Key, r.n.peer, body.Filter)
		return object{"count": n}, err
	})
}

func (c *Cluster) counted(col *collection, keys keySelector, self uint64, f *filter) (int, error) {
	_, locals, err := c.readFrom(col, keys, self, "count")
	n := 0
	for _, l := range locals {
		if f == nil {
			n += len(l.points)
			continue
		}
		for _, s := range l.points {
			if f.matches(s.point) {
				n++
			}
		}
	}
	return n, err
}

// retrieved are the points with these ids, in this order and each once; those that do not exist are missing.
func (c *Cluster) retrieved(col *collection, keys keySelector, self uint64, ids []pointID) ([]record, error) {
	shards, locals, err := c.readFrom(col, keys, self, "retrieve")
	if err != nil {
		return nil, err
	}
	var found []record
	seen := map[pointID]bool{}
	for _, id := range ids {
		if seen[id] {
			continue
		}
		seen[id] = true
		for i, l := range locals {
			if s, ok := l.points[id]; ok {
				found = append(found, record{s.point, shards[i].key})
				break
			}
		}
	}
	return found, nil
}

func (r *request) getPoints() {
	var body struct {
		IDs         []pointID   `json:"ids"`
		WithPayload wanted      `json:"with_payload"` // nothing unless asked for, other than when scrolling
		WithVector  wanted      `json:"with_vector"`
		Key         keySelector `json:"shard_key"`
	}
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	if body.IDs == nil {
		r.fail(fail(kindFormat, "Format error in JSON body: missing field `ids`"))
		return
	}
	r.onCollection(false, func(col *collection) (any, error) {
		if err := col.checkRead(0, nil, false, len(body.IDs)); err != nil {
			return nil, err
		}
		found, err := r.n.c.retrieved(col, body.Key, r.n.peer, body.IDs)
		if err == nil {
			err = damaged(found, body.WithPayload, body.WithVector)
		}
		points := make([]object, 0, len(found))
		for _, rec := range found {
			points = append(points, rec.show(body.WithPayload, body.WithVector))
		}
		return points, err
	})
}

func (r *request) getPoint() {
	var id pointID
	if id.UnmarshalJSON([]byte(r.args[1])) != nil && id.UnmarshalJSON(encode(r.args[1])) != nil {
		r.fail(badInput("Can not recognize \"%s\" as point id", r.args[1]))
		return
	}
	r.onCollection(false, func(col *collection) (any, error) {
		found, err := r.n.c.retrieved(col, keySelector{}, r.n.peer, []pointID{id})
		if err == nil && len(found) == 0 {
			err = notFound("Point with id %s does not exists!", id)
		}
		if err != nil {
			return nil, err
		}
		return found[0].show(wanted{all: true}, wanted{all: true}), nil
	})
}
