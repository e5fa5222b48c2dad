package qdrant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// What a restore point holds, in this order: the archives (or points) of every collection, then a document for each
// collection, then one for the whole. docs/format/qdrant.md tells the format.
const (
	pointPath      = "point.json"
	collectionDir  = "collections/"
	collectionDoc  = "/collection.json"
	documentFormat = "holdfast-qdrant"
	formatVersion  = 1
)

// pointRecord is point.json: what all collections have in common.
type pointRecord struct {
	Format        string            `json:"format"`
	FormatVersion int               `json:"format_version"`
	Method        string            `json:"method"` // snapshot or export
	Version       string            `json:"qdrant_version"`
	Commit        string            `json:"qdrant_commit,omitempty"`
	Peers         map[string]string `json:"peers,omitempty"` // by id, of a cluster
	Aliases       []alias           `json:"aliases,omitempty"`
	Collections   []string          `json:"collections"`
}

// collectionRecord is collection.json: everything of a collection that its archives do not hold, as the server said it.
type collectionRecord struct {
	Format        string                     `json:"format"`
	FormatVersion int                        `json:"format_version"`
	Name          string                     `json:"name"`
	Config        json.RawMessage            `json:"config"`
	PayloadSchema map[string]json.RawMessage `json:"payload_schema"`
	Cluster       json.RawMessage            `json:"cluster"`
	Shards        []shardRecord              `json:"shards,omitempty"` // method snapshot
	Export        *exportRecord              `json:"export,omitempty"` // method export
	Before        uint64                     `json:"points_before"`    // exact counts before the first and after the last byte was read
	After         uint64                     `json:"points_after"`
	Samples       []sample                   `json:"samples,omitempty"`
	Watched       int                        `json:"watched,omitempty"` // points whose versions were compared before and after reading; 0: the server tells none
	Touched       int                        `json:"touched,omitempty"` // of these, those that were written or removed meanwhile
	Missing       []string                   `json:"missing,omitempty"` // what is not in the restore point, and why
}

// shardRecord is one archive.
type shardRecord struct {
	ID       uint32          `json:"id"`
	Key      json.RawMessage `json:"key,omitempty"`
	Path     string          `json:"path"`
	Bytes    int64           `json:"bytes"`
	SHA256   string          `json:"sha256"`            // of the archive, computed here
	Server   bool            `json:"checked,omitempty"` // the server's own checksum was the same
	Mode     string          `json:"mode"`              // stream or snapshot
	Peer     string          `json:"peer,omitempty"`    // that it was read from
	Segments []string        `json:"segments"`
	Members  int             `json:"members"`
}

// exportRecord tells of points that were read one by one.
type exportRecord struct {
	Payload bool            `json:"payload"`
	Vectors bool            `json:"vectors"`
	Filter  json.RawMessage `json:"filter,omitempty"`
	Parts   []exportPart    `json:"parts"`
}

// exportPart is the points of one shard key, or all of them.
type exportPart struct {
	Key    json.RawMessage `json:"key,omitempty"`
	Path   string          `json:"path"`
	Points uint64          `json:"points"`
	Bytes  int64           `json:"bytes"`
}

// sample is a point that a restore is compared with.
type sample struct {
	ID  json.RawMessage `json:"id"`
	Key json.RawMessage `json:"key,omitempty"`
	Sum string          `json:"sha256"` // of the point's canonical JSON
	// Touched says that it was written, or taken out and put in again, while the backup read: it proves less.
	Touched bool `json:"touched,omitempty"`

	bytes int // of the point's JSON, where it was just read
}

// dirOf is a collection's folder within a restore point. Names hold neither / nor NUL, by Qdrant's own rule.
func dirOf(collection string) string {
	escaped := strings.NewReplacer("%", "%25", "/", "%2F", "\x00", "%00").Replace(collection)
	if escaped == "." || escaped == ".." {
		escaped = strings.ReplaceAll(escaped, ".", "%2E")
	}
	return collectionDir + escaped
}

func encodeDocument(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// addDocument puts a document into the point.
func addDocument(ctx context.Context, sink executors.Sink, path string, at time.Time, v any) (int64, error) {
	data, err := encodeDocument(v)
	if err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	return int64(len(data)), sink.Add(ctx, executors.Entry{Path: path, Type: executors.TypeStream, ModTime: at}, executors.Content{
		Open:     func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		SizeHint: int64(len(data)),
	})
}

// maxDocument bounds a document that is read: a collection with very many payload indexes takes a few hundred kilobytes.
const maxDocument = 256 << 20

// contents is a whole restore point as its documents tell it.
type contents struct {
	point       pointRecord
	made        version
	collections []*collectionRecord
	sizes       map[string]int64 // of every entry that is no document
	read        int64            // bytes of the documents
}

func isDocument(path string) bool {
	return path == pointPath || strings.HasPrefix(path, collectionDir) && strings.HasSuffix(path, collectionDoc)
}

// readContents reads the documents, and finds that everything they name is there. Only those collections are kept whose
// names the globs match.
func readContents(ctx context.Context, from executors.Supply, only []string) (*contents, error) {
	c := &contents{sizes: map[string]int64{}}
	if err := from.Entries(ctx, func(e executors.Entry) error {
		if !isDocument(e.Path) {
			c.sizes[e.Path] = e.Size
		}
		return nil
	}); err != nil {
		return nil, err
	}
	err := from.Read(ctx, func(e executors.Entry) bool { return isDocument(e.Path) }, func(e executors.Entry, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, maxDocument))
		if err != nil {
			return fmt.Errorf("read %s: %w", e.Path, err)
		}
		c.read += int64(len(data))
		if e.Path == pointPath {
			return decodeDocument(e.Path, data, &c.point, &c.point.Format, &c.point.FormatVersion)
		}
		r2 := &collectionRecord{}
		if err := decodeDocument(e.Path, data, r2, &r2.Format, &r2.FormatVersion); err != nil {
			return err
		}
		if dirOf(r2.Name)+collectionDoc != e.Path {
			return fmt.Errorf("read %s: it tells of collection %q", e.Path, r2.Name)
		}
		c.collections = append(c.collections, r2)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if c.point.Format == "" {
		return nil, fmt.Errorf("the restore point holds no %s: it was not made of a Qdrant server", pointPath)
	}
	if c.made, err = parseVersion(c.point.Version); err != nil {
		return nil, fmt.Errorf("read %s: %w", pointPath, err)
	}
	if len(c.collections) != len(c.point.Collections) {
		return nil, fmt.Errorf("the restore point tells of %d collections and holds %d", len(c.point.Collections), len(c.collections))
	}
	return c, c.keep(only)
}

func decodeDocument(path string, data []byte, out any, format *string, version *int) error {
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if *format != documentFormat || *version != formatVersion {
		return fmt.Errorf("read %s: its format is %q, version %d; this version of holdfast reads %s, version %d", path, *format, *version, documentFormat, formatVersion)
	}
	return nil
}

// keep leaves the collections that globs select; none being left is an error that names what there is.
func (c *contents) keep(only []string) error {
	if len(only) == 0 {
		return nil
	}
	var kept []*collectionRecord
	used := map[string]bool{}
	for _, r := range c.collections {
		for _, pattern := range only {
			g, err := policy.NewGlob(pattern)
			if err != nil {
				return err
			}
			if g.Match(r.Name) {
				used[pattern] = true
				if len(kept) == 0 || kept[len(kept)-1] != r {
					kept = append(kept, r)
				}
			}
		}
	}
	for _, pattern := range only {
		if !used[pattern] {
			return fmt.Errorf("the restore point holds no collection %q; it holds %s", pattern, executors.ListSome(c.point.Collections, 10))
		}
	}
	c.collections = kept
	return nil
}

// archives are the paths of a collection's content, in order.
func (r *collectionRecord) archives() []string {
	var out []string
	for _, s := range r.Shards {
		out = append(out, s.Path)
	}
	if r.Export != nil {
		for _, p := range r.Export.Parts {
			out = append(out, p.Path)
		}
	}
	return out
}

// bytes is the size of a collection's content.
func (r *collectionRecord) bytes() (n int64) {
	for _, s := range r.Shards {
		n += s.Bytes
	}
	if r.Export != nil {
		for _, p := range r.Export.Parts {
			n += p.Bytes
		}
	}
	return n
}

// whole is nil when everything of the collection is in the restore point.
func (c *contents) whole(r *collectionRecord) error {
	if len(r.Missing) > 0 {
		return fmt.Errorf("collection %q is not whole in the restore point: %s", r.Name, strings.Join(r.Missing, "; "))
	}
	for _, path := range r.archives() {
		if _, ok := c.sizes[path]; !ok {
			return fmt.Errorf("collection %q is not whole in the restore point: %s is missing", r.Name, path)
		}
	}
	l, err := parseLayout(r.Cluster)
	if err != nil {
		return fmt.Errorf("collection %q: decode its shards: %w", r.Name, err)
	}
	// With custom sharding and no key yet there is nothing.
	if len(r.archives()) == 0 && len(l.shards) > 0 {
		return errors.New("collection " + r.Name + " has no content in the restore point")
	}
	return nil
}
