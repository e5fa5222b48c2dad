// Package archive follows the tar archives in which Qdrant hands out a shard, byte by byte, as they pass.
//
// It is no unpacker: it never holds a member's content (but for one small list of segments) and changes nothing, so that the
// archive can be put together again bit for bit. It answers two questions: where an archive is best cut so that a file that
// did not change is recognised the next time, and whether the archive is whole. The invariant: following never fails. What
// cannot be understood is passed on uncut, and told by Report.
//
// Source of the format: POSIX ustar and GNU tar headers (libarchive's tar(5)), with old-GNU sparse members; the members and
// their order are Qdrant's, from a server's own snapshots.
package archive

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MinPart is the size in bytes from which a member's content is cut out of what stands around it. Smaller members share
// chunks with their headers: a cut costs a chunk.
const MinPart = 128 << 10

// Walker follows one archive. The zero value is not ready; use NewWalker. Not safe for concurrent use.
type Walker struct {
	outer  *level
	report Report
	list   []byte // of segments_manifest.json, while it passes
	state  []byte // of replica_state.json
}

// Report is what was seen of an archive so far.
type Report struct {
	Bytes    int64
	Members  int    // of all levels, archives inside of it included
	Problem  string // the first thing that is no valid archive, with its place; empty when there is none
	End      bool   // the archive's end marker was seen
	segments map[string]*segment
	others   map[string]bool // members of the shard itself that must be there
	listed   []string        // segments that the shard's own list names; nil without a list

	// Replica is what the node that gave the archive out was of the shard when it ended, such as "Active" or "Partial"; empty
	// when the archive does not say.
	Replica string
}

// segment notes which members of a segment make it loadable.
type segment struct{ state, version bool }

// What every shard's archive holds. Qdrant writes these two last.
var trailers = []string{stateName, "shard_config.json"}

// NewWalker begins at the first byte of an archive.
func NewWalker() *Walker {
	w := &Walker{report: Report{segments: map[string]*segment{}, others: map[string]bool{}}}
	w.outer = &level{w: w}
	return w
}

// Next takes the first n bytes of p in, n > 0 unless p is empty, and tells whether a cut belongs behind them.
func (w *Walker) Next(p []byte) (n int, cut bool) {
	n, cut = w.outer.next(p)
	w.report.Bytes += int64(n)
	return n, cut
}

// Report tells what was seen. It shares nothing that later bytes change, except through the Walker itself.
func (w *Walker) Report() Report {
	r := w.report
	r.Replica = replicaOf(w.state)
	if r.Problem == "" && w.list != nil {
		var err error
		if r.listed, err = parseList(w.list); err != nil {
			r.Problem = fmt.Sprintf("%s cannot be read: %v", listName, err)
		}
	}
	return r
}

// Segments returns the ids of the segments seen, sorted.
func (r Report) Segments() []string { return slices.Sorted(maps.Keys(r.segments)) }

// Whole is nil for an archive of a shard that Qdrant could load: it ends as an archive ends, every header is valid, the
// members that are written last are there, and every segment has what loading needs.
func (r Report) Whole() error {
	switch {
	case r.Problem != "":
		return fmt.Errorf("the archive is damaged: %s", r.Problem)
	case r.Bytes == 0:
		return fmt.Errorf("the archive is empty")
	case !r.End:
		return fmt.Errorf("the archive was cut short: its end marker is missing after %d bytes and %d members", r.Bytes, r.Members)
	}
	for _, name := range trailers {
		if !r.others[name] {
			return fmt.Errorf("the archive was cut short: %s is missing after %d members", name, r.Members)
		}
	}
	// A node without the shard's data gives such an archive out; a shard with data has a segment even when it has no points.
	if len(r.segments) == 0 {
		return fmt.Errorf("the archive is of no use: it holds no segment, only what a node without the shard's data keeps")
	}
	for _, id := range r.Segments() {
		s := r.segments[id]
		if !s.state || !s.version {
			return fmt.Errorf("the archive's segment %s lacks %s", id, map[bool]string{false: "segment.json", true: "version.info"}[s.state])
		}
		if r.listed != nil && !slices.Contains(r.listed, id) {
			return fmt.Errorf("the archive's segment %s is not in its %s", id, listName)
		}
	}
	return nil
}

// see notes a member by its path within the shard. Both layouts of segments come here: segments/ID.tar with
// snapshot/files/NAME inside, and segments/ID/files/NAME.
func (w *Walker) see(path string) {
	w.report.Members++
	rest, ok := strings.CutPrefix(path, "segments/")
	if !ok {
		if slices.Contains(trailers, path) {
			w.report.others[path] = true
		}
		return
	}
	id, name, inside := strings.Cut(rest, "/")
	id = strings.TrimSuffix(id, nested)
	if id == "" || !inside && !strings.HasSuffix(rest, nested) {
		return
	}
	s := w.report.segments[id]
	if s == nil {
		s = &segment{}
		w.report.segments[id] = s
	}
	switch strings.TrimPrefix(strings.TrimPrefix(name, "snapshot/"), "files/") {
	case "segment.json":
		s.state = true
	case "version.info":
		s.version = true
	}
}
