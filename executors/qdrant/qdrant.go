// Package qdrant backs up Qdrant collections, shard by shard, and brings them back.
//
// It asks a server for facts and snapshots over REST, which alone has downloads, uploads and the verbatim configuration, and
// reads and writes single points over gRPC through go-client. It knows nothing of stores, schedules or retention.
//
// Invariants: an archive counts only when its end marker and last members passed through, and its checksum fits where the
// server gives one; whatever a call made on a server (snapshot files, scratch collections) is removed by that call, and
// nothing else is (a snapshot that appears in place of a lost request's is taken for its own); a name that is an alias is never written through; what a restore replaces stays until the new data
// was proven under another name. docs/qdrant.md tells users the rules.
package qdrant

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// Options set an executor up. The zero value is right for production.
type Options struct {
	Poll      time.Duration // between two looks at a server that is at work; 0: 500 ms
	Adopt     time.Duration // how long a snapshot is waited for whose request was lost; 0: 15 minutes
	Connect   time.Duration // limit of connecting, and of an answer to a small question; 0: 30 s
	SpoolSize int           // bytes kept in memory of a stream that the store is too slow for, before a file is used; 0: 16 MiB
}

// Executor implements executors.Executor for policy.KindQdrant. It holds no connection between calls; methods may be called
// concurrently.
type Executor struct {
	o       Options
	margins margins
}

var (
	_ executors.Executor  = (*Executor)(nil)
	_ executors.Rehearser = (*Executor)(nil)
)

// margins are the safety margins of the package.
type margins struct {
	// tries is how often a shard or a page is asked for before it counts as missing. Between two tries a replica elsewhere is
	// chosen where there is one.
	tries int
	// cleanup is how long removing what a call made on the server may take after the call's context ended.
	cleanup time.Duration
	// parallel is how many shards are read at once; a shard of large bytes or more counts for all of them. A snapshot holds
	// up its shard's optimizers.
	parallel int64
	large    int64
	// samples is how many points of a collection are remembered, to be compared after a restore.
	samples int
	// watched is of how many points of a collection the versions are compared before and after it was read.
	watched int
	// reached is how long a server may take to begin to fetch what it is served, before the archive is uploaded instead.
	reached time.Duration
	// idle is how long a transfer may stand still before it counts as broken. A server says nothing while it makes a snapshot
	// of a large segment.
	idle time.Duration
	// unanswered is how long a restore goes on asking a server that does not answer.
	unanswered time.Duration
	// stuck is how long a replica may stay inactive while nothing else happens before a restore gives up.
	stuck time.Duration
	// abandoned is the age at which a scratch collection of another host's rehearsal counts as left by a killed one.
	abandoned time.Duration
}

// New makes an executor. It connects to nothing yet.
func New(o Options) *Executor {
	set := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	set(&o.Poll, 500*time.Millisecond)
	set(&o.Adopt, 15*time.Minute)
	set(&o.Connect, 30*time.Second)
	if o.SpoolSize == 0 {
		o.SpoolSize = 16 << 20
	}
	return &Executor{o: o, margins: margins{
		tries: 3, cleanup: 20 * time.Second, parallel: 4, large: 256 << 20, samples: 16, watched: 500, reached: 15 * time.Second, idle: 15 * time.Minute, unanswered: 30 * time.Second, stuck: 10 * time.Minute, abandoned: 48 * time.Hour,
	}}
}

// Names that holdfast gives to collections of its own. They are no part of any backup.
const (
	drillPrefix = "hf_drill_"
	stagePrefix = "hf_restore_"
)

func isOurs(name string) bool {
	return strings.HasPrefix(name, drillPrefix) || strings.HasPrefix(name, stagePrefix)
}

// Inspect tells the server's version and every collection's name, whether a backup covers it or not. Size is an estimate
// from the numbers of points and the widths of vectors. Gaps name nodes of a cluster that no URL reaches.
func (x *Executor) Inspect(ctx context.Context, src policy.Source) (executors.Facts, error) {
	c, err := x.openSource(ctx, src, toRead)
	if err != nil {
		return executors.Facts{}, err
	}
	defer c.close()
	names, err := c.collectionNames(ctx)
	if err != nil {
		return executors.Facts{}, fmt.Errorf("inspect %s: %w", src.Address, err)
	}
	out := executors.Facts{Version: c.version.text, Names: []string{}, Gaps: c.gaps(), Extra: map[string]string{
		"address": c.address(), "nodes": strconv.Itoa(max(len(c.peers), 1)), "nodes_reached": strconv.Itoa(len(c.nodes)),
	}}
	for _, name := range names {
		if isOurs(name) {
			continue
		}
		out.Names = append(out.Names, name)
		if !src.Qdrant.Covers(name) {
			continue
		}
		info, err := c.info(ctx, name)
		if isGone(err) {
			continue
		}
		if err != nil {
			return executors.Facts{}, fmt.Errorf("inspect %s: %w", src.Address, err)
		}
		out.Size += info.estimate()
	}
	return out, nil
}

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}
