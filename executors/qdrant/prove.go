package qdrant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
)

// proveMade compares the empty collection with what was recorded: configuration, indexes, shard keys.
func (m *maker) proveMade(ctx context.Context) error {
	return steps(ctx, step{"", m.proveConfig}, step{"", m.proveKeys})
}

// prove compares the content with what was recorded: points, samples, and that a search finds what it looks for. What has
// the name that applications use was proven under another one, and is not what it was any more.
func (m *maker) prove(ctx context.Context) error {
	if m.live {
		return nil
	}
	return steps(ctx, step{"", m.proveCount}, step{"", m.proveSamples}, step{"", m.proveSearch})
}

// proveCount compares exact counts. When points were added or removed while the backup read, the archive holds a state in
// between, and as much more or less is right. What was touched meanwhile, by the versions of points that were watched, may
// be absent too; that, one in a hundred more, and more points than counted are told: counts bound, they do not prove.
func (m *maker) proveCount(ctx context.Context) error {
	n, err := m.c.count(ctx, m.name, nil, nil)
	if err != nil {
		return err
	}
	if e := m.rec.Export; e != nil {
		var want uint64
		for _, p := range e.Parts {
			want += p.Points
		}
		switch {
		case n > want && !isOurs(m.name):
			m.doubt(fmt.Errorf("it has %d points, exported were %d: applications write to it already", n, want))
		case n < want && m.cfg.Params.ShardingMethod == "custom" && !m.custom():
			return fmt.Errorf("it has %d points, exported were %d: points whose id stands under several shard keys have taken each other's place; restore to a cluster", n, want)
		case n != want:
			return fmt.Errorf("it has %d points, exported were %d", n, want)
		}
		return nil
	}
	low := min(m.rec.Before, m.rec.After)
	high := max(m.rec.Before, m.rec.After)
	slack := high - low
	switch {
	case float64(n+slack) < float64(low)*(1-m.rec.mayLack()):
		if slack == 0 {
			return fmt.Errorf("it has %d points, recorded are %d", n, low)
		}
		return fmt.Errorf("it has %d points; %d were counted before the backup and %d after it", n, m.rec.Before, m.rec.After)
	case n+slack < low || n > high+slack:
		// Documents that are taken out and put in again while a backup reads leave no trace in counts; what is written to the new
		// collection already adds to it.
		m.doubt(fmt.Errorf("it has %d points; %d were counted before the backup and %d after it, and %d of %d watched points were written or removed meanwhile. That is right when points came and went, or are written to it already", n, m.rec.Before, m.rec.After, m.rec.Touched, m.rec.Watched))
	}
	return nil
}

// mayLack is the share of points that a good archive may lack because they were taken out and put in again while it was read.
// Most that are touched are only written anew and are there all the same, so that it has an end.
func (r *collectionRecord) mayLack() float64 {
	const unknown, most = 0.01, 0.10
	switch {
	case r.Watched == 0:
		return unknown
	case uint64(r.Watched) >= min(r.Before, r.After): // all of them
		return min(float64(r.Touched)/float64(r.Watched), most)
	}
	// A sample's share is not the whole's: of k seen among n, three more bound it well.
	return min((1.5*float64(r.Touched)+3)/float64(r.Watched), most)
}

// doubt notes what a person should know although the collection is taken for whole.
func (m *maker) doubt(err error) {
	m.doubts = append(m.doubts, executors.Problem{Path: m.name, Err: err})
}

// proveConfig compares every field that was recorded. Fields that the server added since are its own business, and so are
// numbers of replicas, which depend on the nodes there are.
func (m *maker) proveConfig(ctx context.Context) error {
	i, err := m.c.info(ctx, m.name)
	if err != nil {
		return err
	}
	ignore := []string{
		"strict_mode_config", "params.replication_factor", "params.write_consistency_factor", "params.read_fan_out_factor", "params.read_fan_out_delay_ms",
	}
	if m.cfg.Params.ShardingMethod == "custom" && !m.custom() {
		ignore = append(ignore, "params.sharding_method", "params.shard_number")
	}
	if diff, err := m.differs("its configuration", m.rec.Config, i.Config, ignore); err != nil || diff != "" {
		return cmp.Or(err, fmt.Errorf("its configuration differs: %s", diff))
	}
	for _, field := range sortedKeys(m.rec.PayloadSchema) {
		now, ok := i.PayloadSchema[field]
		if !ok {
			return fmt.Errorf("the payload index of %q is missing", field)
		}
		what := fmt.Sprintf("the payload index of %q", field)
		if diff, err := m.differs(what, m.rec.PayloadSchema[field], now, []string{"points"}); err != nil || diff != "" {
			return cmp.Or(err, fmt.Errorf("%s differs: %s", what, diff))
		}
	}
	return nil
}

// differs is lacks, but for fields that a server of another minor version does not know, or not any more: they are told.
func (m *maker) differs(what string, want, got json.RawMessage, ignore []string) (string, error) {
	for {
		diff, err := lacks(want, got, ignore)
		field, recorded, absent := strings.Cut(diff, " is null, recorded is ")
		if err != nil || !absent || m.written.text == "" || m.c.version.major == m.written.major && m.c.version.minor == m.written.minor {
			return diff, err
		}
		m.log.Warn("the server's version does not keep a field of "+what, "collection", m.rec.Name, "field", field, "recorded", recorded, "server", m.c.version.text, "made_by", m.written.text)
		ignore = append(ignore, field)
	}
}

// lacks names the first field of want that is absent from got or different there; empty when there is none.
func lacks(want, got json.RawMessage, ignore []string) (string, error) {
	w, err := plain(want, exactDigits)
	if err != nil {
		return "", err
	}
	g, err := plain(got, exactDigits)
	if err != nil {
		return "", err
	}
	return lacking(w, g, "", ignore), nil
}

func lacking(want, got any, at string, ignore []string) string {
	if slices.Contains(ignore, at) || want == nil {
		return ""
	}
	if fields, ok := want.(map[string]any); ok {
		have, _ := got.(map[string]any)
		for _, k := range sortedKeys(fields) {
			if diff := lacking(fields[k], have[k], strings.TrimPrefix(at+"."+k, "."), ignore); diff != "" {
				return diff
			}
		}
		return ""
	}
	w, _ := json.Marshal(want) // both came from JSON
	g, _ := json.Marshal(got)
	if !bytes.Equal(w, g) {
		return fmt.Sprintf("%s is %s, recorded is %s", at, g, w)
	}
	return ""
}

// proveKeys compares the set of shard keys.
func (m *maker) proveKeys(ctx context.Context) error {
	if !m.custom() {
		return nil
	}
	l, err := m.c.layout(ctx, m.name)
	if err != nil {
		return err
	}
	text := func(groups []keyShards) []string {
		var out []string
		for _, k := range groups {
			out = append(out, string(k.key))
		}
		slices.Sort(out)
		return out
	}
	want, got := text(m.keys), text(groupByKey(l.shards))
	if !slices.Equal(want, got) {
		return fmt.Errorf("its shard keys are %s, recorded are %s", executors.ListSome(got, 10), executors.ListSome(want, 10))
	}
	return nil
}

// kept are the parts of points that the restore point holds.
func (m *maker) kept() fields {
	if e := m.rec.Export; e != nil {
		return fields{payload: e.Payload, vectors: e.Vectors, loose: true}
	}
	return fields{payload: true, vectors: true}
}

// lookups are the samples as they are asked for in the new collection, which may have lost its shard keys.
func (m *maker) lookups() []sample {
	out := slices.Clone(m.rec.Samples)
	if !m.custom() {
		for i := range out {
			out[i].Key = nil
		}
	}
	return out
}

func (m *maker) proveSamples(ctx context.Context) error {
	samples := m.lookups()
	if len(samples) == 0 {
		return nil
	}
	found, err := m.c.retrieve(ctx, m.name, samples, m.kept())
	if err != nil {
		return err
	}
	var touched, absent int
	for _, s := range samples {
		r, ok := found[string(s.Key)+" "+string(s.ID)]
		if s.Touched {
			touched++
			if !ok {
				absent++
			}
			continue
		}
		if !ok {
			return fmt.Errorf("point %s is missing", s.ID)
		}
		now, err := r.sample(m.kept())
		if err != nil {
			return err
		}
		if now.Sum != s.Sum {
			return fmt.Errorf("point %s is not what it was: its payload or a vector differs", s.ID)
		}
	}
	if touched == len(samples) && 2*absent > touched {
		return fmt.Errorf("%d of %d sampled points that were written while the backup read are missing", absent, touched)
	}
	if touched == len(samples) {
		m.doubt(fmt.Errorf("every sampled point was written while the backup read, so that their content proves nothing; %d of %d are there", touched-absent, touched))
	}
	return nil
}

// proveSearch looks for a sampled point by each of its vectors, exactly: it, or one that is just as near, must be found.
func (m *maker) proveSearch(ctx context.Context) error {
	if !m.kept().vectors {
		return nil
	}
	samples := slices.DeleteFunc(m.lookups(), func(s sample) bool { return s.Touched })
	samples = samples[:min(len(samples), 4)]
	if len(samples) == 0 {
		return nil
	}
	found, err := m.c.retrieve(ctx, m.name, samples, fields{vectors: true})
	if err != nil {
		return err
	}
	tried := map[string]bool{}
	for _, s := range samples {
		r, ok := found[string(s.Key)+" "+string(s.ID)]
		if !ok {
			continue
		}
		for name, vector := range vectorsOf(r.Vector) {
			if tried[name] {
				continue
			}
			tried[name] = true
			if err := m.searchOwn(ctx, s, name, vector); err != nil {
				return err
			}
		}
	}
	return nil
}

// vectorsOf splits what REST tells of a point's vectors: by name, or one without a name.
func vectorsOf(raw json.RawMessage) map[string]json.RawMessage {
	var named map[string]json.RawMessage
	if json.Unmarshal(raw, &named) == nil {
		return named
	}
	if len(raw) > 0 && raw[0] == '[' {
		return map[string]json.RawMessage{"": raw}
	}
	return nil
}

// hit is one answer to a search.
type hit struct {
	ID    json.RawMessage `json:"id"`
	Score float64         `json:"score"`
}

func (m *maker) search(ctx context.Context, body any) ([]hit, error) {
	var said struct {
		Points []hit `json:"points"`
	}
	err := m.c.ask(ctx, http.MethodPost, path("collections", m.name, "points", "query"), body, &said)
	return said.Points, err
}

// searchOwn searches by a point's own vector, exactly. By inner product others may be nearer than the point itself: then all
// that are found must be.
func (m *maker) searchOwn(ctx context.Context, s sample, name string, vector json.RawMessage) error {
	const near = 10
	body := map[string]any{"query": vector, "limit": near, "params": map[string]any{"exact": true}, "with_payload": false}
	if name != "" {
		body["using"] = name
	}
	if s.Key != nil {
		body["shard_key"] = s.Key
	}
	hits, err := m.search(ctx, body)
	if err != nil {
		return fmt.Errorf("search for point %s by its vector %q: %w", s.ID, name, err)
	}
	is := func(h hit) bool { return string(h.ID) == string(s.ID) }
	if slices.ContainsFunc(hits, is) || zero(vector) {
		return nil
	}
	body["filter"] = map[string]any{"must": []any{map[string]any{"has_id": []any{s.ID}}}}
	own, err := m.search(ctx, body)
	if err != nil {
		return fmt.Errorf("search for point %s by its vector %q: %w", s.ID, name, err)
	}
	if len(own) == 1 && is(own[0]) && len(hits) == near && nearer(hits, own[0].Score) {
		return nil
	}
	return fmt.Errorf("a search by the vector %q of point %s does not find it", name, s.ID)
}

// nearer tells whether all hits, best first, are at least as near as a score: similarities fall, distances rise.
func nearer(hits []hit, score float64) bool {
	first, last := hits[0].Score, hits[len(hits)-1].Score
	if first >= last && last >= score {
		return true
	}
	return first <= last && last <= score
}

func zero(vector json.RawMessage) bool {
	var dense []float64
	var sparse struct {
		Values []float64 `json:"values"`
	}
	if json.Unmarshal(vector, &dense) != nil {
		if json.Unmarshal(vector, &sparse) != nil {
			return false
		}
		dense = sparse.Values
	}
	return !slices.ContainsFunc(dense, func(v float64) bool { return v != 0 })
}
