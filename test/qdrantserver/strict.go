package qdrantserver

import (
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"time"
)

// limiter is a bucket of tokens that is refilled within a minute.
type limiter struct{ *bucket }

type bucket struct {
	mu       sync.Mutex
	capacity float64
	tokens   float64
	last     time.Time
}

// take spends tokens, or says why it cannot. write is for the message only.
func (l *limiter) take(limit, cost int, write bool) error {
	if l.bucket == nil || l.capacity != float64(limit) {
		l.bucket = &bucket{capacity: float64(limit), tokens: float64(limit), last: time.Now()}
		if write {
			l.tokens-- // being set up counts as a write
		}
	}
	kind := "Read"
	if write {
		kind = "Write"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if float64(cost) > l.capacity {
		return fail(kindRate, "%s rate limit exceeded, request larger than rate limiter capacity, please try to split your request", kind)
	}
	t := time.Now()
	l.tokens = min(l.capacity, l.tokens+l.capacity/60*t.Sub(l.last).Seconds())
	l.last = t
	if l.tokens >= float64(cost) {
		l.tokens -= float64(cost)
		return nil
	}
	after := time.Duration((float64(cost) - l.tokens) / (l.capacity / 60) * float64(time.Second))
	return &failure{kind: kindRate, retryAfter: after, text: fmt.Sprintf(
		"%s rate limit exceeded: Operation requires %d tokens but only %.1f were available. Retry after %ds", kind, cost, l.tokens, int(math.Ceil(after.Seconds())))}
}

// strictLimit is a number of the strict mode, when that is switched on.
func (col *collection) strictLimit(name string) (int, bool) {
	s := col.strict()
	n, ok := s[name].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return int(i), err == nil
}

// strict is the strict mode's configuration, empty when it is switched off.
func (col *collection) strict() object {
	s, _ := col.config["strict_mode_config"].(object)
	if enabled, _ := s["enabled"].(bool); !enabled {
		return nil
	}
	return s
}

// strictError says what is not allowed, and what to do instead.
func strictError(what, help string) error { return badRequest("%s. Help: %s", what, help) }

// checkRead applies the strict mode to a read of at most limit points. It needs Cluster.mu for writing, as it spends
// tokens.
func (col *collection) checkRead(limit int, f *filter, exact bool, cost int) error {
	if top, ok := col.strictLimit("max_query_limit"); ok && limit > top {
		return strictError(fmt.Sprintf("Limit exceeded %d > %d for \"limit\"", limit, top), fmt.Sprintf("Reduce the \"limit\" parameter to or below %d.", top))
	}
	if err := col.checkIndexed(f, "unindexed_filtering_retrieve"); err != nil {
		return err
	}
	if allowed, ok := col.strict()["search_allow_exact"].(bool); ok && !allowed && exact {
		return strictError("Exact search disabled!", "Set exact=false.")
	}
	if per, ok := col.strictLimit("read_rate_limit"); ok {
		return col.reads.take(per, cost+f.conditions(), false)
	}
	return nil
}

// checkWrite applies the strict mode to a write of so many points.
func (col *collection) checkWrite(points int, f *filter, upsert bool) error {
	if top, ok := col.strictLimit("upsert_max_batchsize"); ok && upsert && points > top {
		return strictError(fmt.Sprintf("Limit exceeded %d > %d for \"upsert limit\"", points, top), fmt.Sprintf("Reduce the \"upsert limit\" parameter to or below %d.", top))
	}
	if err := col.checkIndexed(f, "unindexed_filtering_update"); err != nil {
		return err
	}
	if per, ok := col.strictLimit("write_rate_limit"); ok {
		return col.writes.take(per, max(points, 1), true)
	}
	return nil
}

// checkIndexed refuses filters on fields without an index.
func (col *collection) checkIndexed(f *filter, setting string) error {
	if allowed, ok := col.strict()[setting].(bool); !ok || allowed {
		return nil
	}
	for _, use := range f.fields() {
		if _, indexed := col.schema[use.key]; !indexed {
			return strictError(fmt.Sprintf("Index required but not found for \"%s\" of one of the following types: [%s]", use.key, use.types),
				"Create an index for this key or use a different filter.")
		}
	}
	return nil
}
