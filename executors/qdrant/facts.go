package qdrant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// info is what a server says of a collection. config and payload_schema stay as they came: fields that this version does not
// know must come back too.
type info struct {
	Status          string                     `json:"status"`
	OptimizerStatus json.RawMessage            `json:"optimizer_status"`
	PointsCount     uint64                     `json:"points_count"`
	Config          json.RawMessage            `json:"config"`
	PayloadSchema   map[string]json.RawMessage `json:"payload_schema"`
	UpdateQueue     struct {
		Deferred uint64 `json:"deferred_points"`
	} `json:"update_queue"`
}

// config is the part of a collection's configuration that is looked into.
type config struct {
	Params struct {
		Vectors           json.RawMessage            `json:"vectors"`
		SparseVectors     map[string]json.RawMessage `json:"sparse_vectors"`
		ShardNumber       int                        `json:"shard_number"`
		ShardingMethod    string                     `json:"sharding_method"`
		ReplicationFactor int                        `json:"replication_factor"`
	} `json:"params"`
	StrictMode json.RawMessage `json:"strict_mode_config"`
}

func (i *info) parsed() (config, error) {
	var c config
	if err := json.Unmarshal(i.Config, &c); err != nil {
		return c, fmt.Errorf("decode the configuration: %w", err)
	}
	return c, nil
}

// vectors are the widths of the dense vectors by name; the unnamed one is "".
func (c *config) vectors() map[string]int {
	type one struct {
		Size int `json:"size"`
	}
	var unnamed one
	if json.Unmarshal(c.Params.Vectors, &unnamed) == nil && unnamed.Size > 0 {
		return map[string]int{"": unnamed.Size}
	}
	out := map[string]int{}
	var named map[string]one
	if json.Unmarshal(c.Params.Vectors, &named) == nil {
		for name, v := range named {
			out[name] = v.Size
		}
	}
	return out
}

// vectorNames are all names, sparse ones included, sorted.
func (c *config) vectorNames() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(c.vectors())), maps.Keys(c.Params.SparseVectors))
	slices.Sort(names)
	return names
}

// pointBytes estimates one point's size: its vectors as float32, and a payload of a kilobyte.
func (c *config) pointBytes() int64 {
	n := int64(1 << 10)
	for _, size := range c.vectors() {
		n += 4 * int64(size)
	}
	return n + int64(len(c.Params.SparseVectors))*1<<10
}

// estimate is about how many bytes the collection takes.
func (i *info) estimate() int64 {
	c, err := i.parsed()
	if err != nil {
		return 0
	}
	return int64(i.PointsCount) * c.pointBytes()
}

// optimizer is nil when the optimizer runs well, else what it complains of.
func (i *info) optimizer() error {
	var failed struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(i.OptimizerStatus, &failed) == nil && failed.Error != "" {
		return errors.New(failed.Error)
	}
	return nil
}

func (c *cluster) info(ctx context.Context, collection string) (*info, error) {
	var out info
	if err := c.ask(ctx, http.MethodGet, path("collections", collection), nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// collectionNames lists every collection of the server, sorted.
func (c *cluster) collectionNames(ctx context.Context) ([]string, error) {
	var out struct {
		Collections []struct {
			Name string `json:"name"`
		} `json:"collections"`
	}
	if err := c.ask(ctx, http.MethodGet, "/collections", nil, &out); err != nil {
		return nil, err
	}
	var names []string
	for _, one := range out.Collections {
		names = append(names, one.Name)
	}
	slices.Sort(names)
	return names, nil
}

// alias is a second name of a collection.
type alias struct {
	Alias      string `json:"alias_name"`
	Collection string `json:"collection_name"`
}

// aliases lists every alias of the server, by name.
func (c *cluster) aliases(ctx context.Context) ([]alias, error) {
	var out struct {
		Aliases []alias `json:"aliases"`
	}
	if err := c.ask(ctx, http.MethodGet, "/aliases", nil, &out); err != nil {
		return nil, err
	}
	slices.SortFunc(out.Aliases, func(a, b alias) int { return strings.Compare(a.Alias, b.Alias) })
	return out.Aliases, nil
}

// aliasOf tells what a name is an alias of; empty when it is none.
func aliasOf(all []alias, name string) string {
	for _, a := range all {
		if a.Alias == name {
			return a.Collection
		}
	}
	return ""
}

// layout is where the shards of a collection are.
type layout struct {
	Transfers  []json.RawMessage `json:"shard_transfers"`
	Resharding []json.RawMessage `json:"resharding_operations"`
	shards     []shard
	raw        json.RawMessage
}

// shard is one shard with all of its replicas.
type shard struct {
	id       uint32
	key      json.RawMessage // a text or a number; nil without custom sharding
	local    bool            // the node that was asked has a replica
	points   int64           // of that replica, approximately
	replicas []replica
}

type replica struct {
	peer  uint64
	state string
}

const stateActive = "Active"

func (s *shard) active() (peers []uint64) {
	for _, r := range s.replicas {
		if r.state == stateActive {
			peers = append(peers, r.peer)
		}
	}
	return peers
}

// layout asks a node where a collection's shards are.
func (n *node) layout(ctx context.Context, collection string) (*layout, error) {
	var raw json.RawMessage
	if err := n.get(ctx, path("collections", collection, "cluster"), &raw); err != nil {
		return nil, err
	}
	l, err := parseLayout(raw)
	if err != nil {
		return nil, fmt.Errorf("decode the shards of %q: %w", collection, err)
	}
	return l, nil
}

// parseLayout reads the answer about a collection's shards, also one that a restore point recorded. Shards come by number.
func parseLayout(raw json.RawMessage) (*layout, error) {
	var said struct {
		layout
		Peer  uint64 `json:"peer_id"`
		Local []struct {
			ID     uint32          `json:"shard_id"`
			Key    json.RawMessage `json:"shard_key"`
			Points int64           `json:"points_count"`
			State  string          `json:"state"`
		} `json:"local_shards"`
		Remote []struct {
			ID    uint32          `json:"shard_id"`
			Key   json.RawMessage `json:"shard_key"`
			Peer  uint64          `json:"peer_id"`
			State string          `json:"state"`
		} `json:"remote_shards"`
	}
	if err := json.Unmarshal(raw, &said); err != nil {
		return nil, err
	}
	byID := map[uint32]*shard{}
	add := func(id uint32, key json.RawMessage, r replica) *shard {
		s := byID[id]
		if s == nil {
			s = &shard{id: id}
			byID[id] = s
		}
		if string(key) != "null" {
			s.key = key
		}
		s.replicas = append(s.replicas, r)
		return s
	}
	for _, l := range said.Local {
		s := add(l.ID, l.Key, replica{said.Peer, l.State})
		s.local, s.points = true, l.Points
	}
	for _, r := range said.Remote {
		add(r.ID, r.Key, replica{r.Peer, r.State})
	}
	out := said.layout
	out.raw = raw
	for _, id := range sortedKeys(byID) {
		out.shards = append(out.shards, *byID[id])
	}
	return &out, nil
}

// count counts points exactly. key restricts it to one shard key, filter to what it selects; both may be nil.
func (c *cluster) count(ctx context.Context, collection string, key, filter json.RawMessage) (uint64, error) {
	body := map[string]any{"exact": true}
	if key != nil {
		body["shard_key"] = key
	}
	if filter != nil {
		body["filter"] = filter
	}
	var out struct {
		Count uint64 `json:"count"`
	}
	// Exact counts of large collections take long.
	err := c.ask(ctx, http.MethodPost, path("collections", collection, "points", "count"), body, &out)
	if hasStatus(err, http.StatusBadRequest) && strings.Contains(err.Error(), "Exact search disabled") {
		return c.countOneByOne(ctx, collection, key, filter)
	}
	return out.Count, err
}

// countOneByOne counts where the strict mode forbids exact counts (search_allow_exact = false): by the points' ids, page by
// page. An estimate would prove nothing after a restore.
func (c *cluster) countOneByOne(ctx context.Context, collection string, key, filter json.RawMessage) (n uint64, err error) {
	i, err := c.info(ctx, collection)
	if err != nil {
		return 0, err
	}
	cfg, err := i.parsed()
	if err != nil {
		return 0, err
	}
	keys := []json.RawMessage{key}
	if key == nil {
		l, err := c.layout(ctx, collection)
		if err != nil {
			return 0, err
		}
		keys = l.keysOf() // one scroll over all keys would leave ids out that stand under several
	}
	for _, key := range keys {
		body := map[string]any{"limit": cfg.withinStrict(10 * maxPage), "with_payload": false, "with_vector": false}
		if key != nil {
			body["shard_key"] = key
		}
		if filter != nil {
			body["filter"] = filter
		}
		for more := true; more; {
			var said struct {
				Points []struct{}      `json:"points"`
				Next   json.RawMessage `json:"next_page_offset"`
			}
			if err := c.ask(ctx, http.MethodPost, path("collections", collection, "points", "scroll"), body, &said); err != nil {
				return 0, err
			}
			n += uint64(len(said.Points))
			more, body["offset"] = len(said.Next) > 0 && string(said.Next) != "null", said.Next
		}
	}
	return n, nil
}

// keysOf are the distinct shard keys of a collection in the order of their lowest shard; one nil without custom sharding.
func (l *layout) keysOf() []json.RawMessage {
	var out []json.RawMessage
	for _, s := range l.shards {
		if s.key != nil && !slices.ContainsFunc(out, func(k json.RawMessage) bool { return string(k) == string(s.key) }) {
			out = append(out, s.key)
		}
	}
	if out == nil {
		return []json.RawMessage{nil}
	}
	return out
}

func sortedKeys[K interface{ ~uint32 | ~uint64 | ~string }, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// decodeBody decodes a JSON document that is not larger than a person would write.
func decodeBody(r io.Reader, out any) error {
	data, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer is not Qdrant's: %.100q", data)
	}
	return nil
}
