package qdrantserver

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
)

// queryJSON is POST /collections/{}/points/query, as far as it looks for nearest points.
type queryJSON struct {
	Query       json.RawMessage `json:"query"`
	Using       string          `json:"using"`
	Limit       *int            `json:"limit"`
	Offset      int             `json:"offset"`
	Filter      *filter         `json:"filter"`
	Threshold   *float32        `json:"score_threshold"`
	WithPayload wanted          `json:"with_payload"`
	WithVector  wanted          `json:"with_vector"`
	Key         keySelector     `json:"shard_key"`
	Params      struct {
		Exact bool `json:"exact"`
	} `json:"params"`
	Vector json.RawMessage `json:"vector"` // of search
}

type hit struct {
	record
	score float32
}

func (r *request) queryPoints() {
	var body queryJSON
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	r.onCollection(false, func(col *collection) (any, error) {
		points, err := r.n.c.query(col, r.n.peer, &body)
		return object{"points": points}, err
	})
}

// searchPoints is the older spelling of the same.
func (r *request) searchPoints() {
	var body queryJSON
	if err := r.body(&body); err != nil {
		r.fail(err)
		return
	}
	var named struct {
		Name   string          `json:"name"`
		Vector json.RawMessage `json:"vector"`
	}
	body.Query = body.Vector
	if json.Unmarshal(body.Vector, &named) == nil {
		body.Using, body.Query = named.Name, named.Vector
	}
	r.onCollection(false, func(col *collection) (any, error) { return r.n.c.query(col, r.n.peer, &body) })
}

func (c *Cluster) query(col *collection, self uint64, q *queryJSON) ([]object, error) {
	limit := 10
	if q.Limit != nil {
		limit = *q.Limit
	}
	if err := col.checkRead(limit, q.Filter, q.Params.Exact, 1); err != nil {
		return nil, err
	}
	random := q.random()
	if random {
		q.Query = nil
	}
	kind, ok := kindsOf(col.params())[q.Using]
	if !ok && q.Query != nil {
		return nil, badInput("Not existing vector name error: %s", q.Using)
	}
	var target vector
	var self0 *pointID
	if q.Query != nil {
		var err error
		if target, self0, err = c.target(col, self, q, kind); err != nil {
			return nil, err
		}
	}
	shards, locals, err := c.readFrom(col, q.Key, self, "query")
	if err != nil {
		return nil, err
	}
	var hits []hit
	for i, l := range locals {
		for _, id := range l.ids() {
			p := l.points[id].point
			v, has := p.vectors[q.Using]
			if q.Query != nil && !has || !q.Filter.matches(p) || self0 != nil && id == *self0 {
				continue
			}
			h := hit{record: record{p, shards[i].key}, score: 1}
			if q.Query != nil {
				var any bool
				if h.score, any = kind.score(target, v); !any {
					continue
				}
			}
			hits = append(hits, h)
		}
	}
	if random {
		rand.Shuffle(len(hits), func(i, j int) { hits[i], hits[j] = hits[j], hits[i] })
		hits = hits[:min(limit, len(hits))]
	}
	return q.best(hits, kind, limit), nil
}

// random tells whether points are asked for at random: {"sample": "random"}.
func (q *queryJSON) random() bool {
	var by struct {
		Sample string `json:"sample"`
	}
	return json.Unmarshal(q.Query, &by) == nil && by.Sample == "random"
}

func (q *queryJSON) best(hits []hit, kind vectorKind, limit int) []object {
	smaller := kind.distance == "Euclid" || kind.distance == "Manhattan"
	slices.SortStableFunc(hits, func(a, b hit) int {
		switch {
		case a.score == b.score:
			return a.id.compare(b.id)
		case a.score < b.score == smaller:
			return -1
		}
		return 1
	})
	points := []object{}
	for i, h := range hits[min(q.Offset, len(hits)):] {
		if i >= limit {
			break
		}
		if q.Threshold != nil && (h.score < *q.Threshold) != smaller {
			continue
		}
		o := h.show(q.WithPayload, q.WithVector)
		o["version"] = h.version
		if q.Query == nil {
			o["version"] = 0
		}
		o["score"] = json.RawMessage(formatFloat(float64(h.score), 32))
		points = append(points, o)
	}
	return points
}

// target is the vector to look for: given, or that of a point.
func (c *Cluster) target(col *collection, self uint64, q *queryJSON, kind vectorKind) (vector, *pointID, error) {
	raw := q.Query
	var nearest struct {
		Nearest json.RawMessage `json:"nearest"`
	}
	if json.Unmarshal(raw, &nearest) == nil && nearest.Nearest != nil {
		raw = nearest.Nearest
	}
	var id pointID
	if raw[0] != '[' && raw[0] != '{' && id.UnmarshalJSON(raw) == nil {
		found, err := c.retrieved(col, q.Key, self, []pointID{id})
		if err != nil {
			return vector{}, nil, err
		}
		if len(found) == 0 {
			return vector{}, nil, notFound("No point with id %s found", id)
		}
		return found[0].vectors[q.Using], &id, nil
	}
	var v vector
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, nil, fail(kindFormat, "Format error in JSON body: %v", err)
	}
	v, err := kind.prepare(v)
	return v, nil, err
}

// score compares two vectors. Sparse ones without a common index do not compare.
func (k vectorKind) score(a, b vector) (float32, bool) {
	if k.sparse {
		return sparseScore(a, b)
	}
	var total float32
	for _, x := range a.rows {
		best := float32(math.Inf(-1))
		for _, y := range b.rows {
			best = max(best, k.similarity(x, y))
		}
		total += best
	}
	if k.distance == "Euclid" || k.distance == "Manhattan" {
		total = -total
	}
	return total, true
}

func (k vectorKind) similarity(x, y []float32) float32 {
	var sum float32
	for i := range x {
		switch d := x[i] - y[i]; k.distance {
		case "Euclid":
			sum += d * d
		case "Manhattan":
			sum += float32(math.Abs(float64(d)))
		default:
			sum += x[i] * y[i]
		}
	}
	switch k.distance {
	case "Euclid":
		return -float32(math.Sqrt(float64(sum)))
	case "Manhattan":
		return -sum
	}
	return sum
}

func sparseScore(a, b vector) (score float32, common bool) {
	for i, j := 0, 0; i < len(a.indices) && j < len(b.indices); {
		switch {
		case a.indices[i] < b.indices[j]:
			i++
		case a.indices[i] > b.indices[j]:
			j++
		default:
			score, common = score+a.values[i]*b.values[j], true
			i, j = i+1, j+1
		}
	}
	return score, common
}
