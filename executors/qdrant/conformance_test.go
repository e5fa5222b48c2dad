package qdrant

import (
	"testing"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

func TestConformance(t *testing.T) {
	for name, backup := range methods {
		t.Run(name, func(t *testing.T) {
			s := qdranttest.Shared(t)
			executortest.Run(t, executortest.Harness{
				Executor: quick(),
				Source: func(t *testing.T) (policy.Source, policy.Backup) {
					collection := s.Name(t, "source")
					s.Fill(t, collection, rich(), 400, 0)
					s.Do(t, "PUT", "/collections/"+collection+"/index?wait=true", map[string]any{"field_name": "city", "field_schema": map[string]any{"type": "keyword", "is_tenant": true}})
					return sourceOf(s, collection), backup
				},
				Target: func(t *testing.T) executors.Target { return executors.Target{Root: s.Name(t, "target")} },
				Occupy: func(t *testing.T, at executors.Target) { s.Fill(t, at.Root, nil, 20, 4) },
				SourceImage: func(t *testing.T, src policy.Source) string {
					return s.Image(t, src.Qdrant.Collections[0])
				},
				TargetImage: func(t *testing.T, at executors.Target) string { return s.Image(t, at.Root) },
				Checks: func(src policy.Source) (holds, fails, broken policy.Check) {
					c := src.Qdrant.Collections[0]
					return check("all points", c, "points", 400), check("too many", c, "points", 401), check("elsewhere", "nowhere", "points", 1)
				},
			})
			noLeftovers(t, s)
		})
	}
}

// rich is a collection that says something of everything.
func rich() map[string]any {
	return map[string]any{
		"vectors": map[string]any{
			"text":  map[string]any{"size": 16, "distance": "Cosine", "hnsw_config": map[string]any{"m": 24}},
			"image": map[string]any{"size": 8, "distance": "Dot", "on_disk": true},
			"parts": map[string]any{"size": 4, "distance": "Cosine", "multivector_config": map[string]any{"comparator": "max_sim"}},
		},
		"sparse_vectors":      map[string]any{"words": map[string]any{"modifier": "idf"}},
		"hnsw_config":         map[string]any{"m": 12, "ef_construct": 80},
		"optimizers_config":   map[string]any{"deleted_threshold": 0.3, "default_segment_number": 2},
		"quantization_config": map[string]any{"scalar": map[string]any{"type": "int8", "quantile": 0.95}},
		"strict_mode_config":  map[string]any{"enabled": true, "max_query_limit": 500},
		"metadata":            map[string]any{"owner": "team-rag", "build": 42},
	}
}
