package qdrant

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// ask answers a check of the policy on the restored collection.
func (m *maker) ask(ctx context.Context, c policy.Check) executors.CheckResult {
	self, shown, err := m.self(ctx, c)
	if err != nil {
		return executors.Unanswered(c, m.c.hide(err))
	}
	return executors.Judge(c, self, shown...)
}

// self is what a check's condition can look at.
func (m *maker) self(ctx context.Context, c policy.Check) (map[string]any, []string, error) {
	points, err := m.c.count(ctx, m.name, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	vectors, err := m.vectorCount(ctx)
	if err != nil {
		return nil, nil, err
	}
	i, err := m.c.info(ctx, m.name)
	if err != nil {
		return nil, nil, err
	}
	self := map[string]any{"points": int64(points), "vectors": int64(vectors), "status": i.Status}
	shown := []string{"points", "vectors", "status"}
	if c.Search == "" {
		return self, shown, nil
	}
	if err := m.asWritten(ctx, c.Search, self); err != nil {
		return nil, nil, err
	}
	return self, append(shown, "hits", "score"), nil
}

// vectorCount counts the vectors of all names together, exactly.
func (m *maker) vectorCount(ctx context.Context) (uint64, error) {
	var sum uint64
	for _, name := range m.cfg.vectorNames() {
		filter, err := json.Marshal(map[string]any{"must": []any{map[string]string{"has_vector": name}}})
		if err != nil {
			return 0, err
		}
		n, err := m.c.count(ctx, m.name, nil, filter)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// asWritten runs a query as it is written in the policy.
func (m *maker) asWritten(ctx context.Context, query string, self map[string]any) error {
	hits, err := m.search(ctx, json.RawMessage(query))
	if err != nil {
		return fmt.Errorf("search: %w", err)
	}
	ids, scores := []any{}, []any{}
	for _, h := range hits {
		var id any
		if n, err := parseID(h.ID); err == nil && n.GetUuid() == "" {
			id = n.GetNum()
		} else {
			id = n.GetUuid()
		}
		ids, scores = append(ids, id), append(scores, h.Score)
	}
	self["hits"], self["ids"], self["scores"], self["score"] = int64(len(ids)), ids, scores, any(nil)
	if len(scores) > 0 {
		self["score"] = scores[0]
	}
	return nil
}
