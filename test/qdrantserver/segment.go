package qdrantserver

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// segment is a part of a shard's data as files, and the little that is needed to go on writing them. An appendable
// segment takes new points and changes in place; an optimised one only marks points as deleted.
type segment struct {
	uuid       string
	appendable bool
	kinds      map[string]vectorKind
	files      map[string]*file
	ids        []pointID // by offset
	payloads   *blobs
	stores     map[string]*vectorStore
	version    uint64
	dirty      bool // segment.json is behind
}

// vectorStore is where the vectors of one name are: chunks of raw float32 rows, or blobs when they are sparse.
type vectorStore struct {
	dir    string
	kind   vectorKind
	sparse *blobs
	rows   int64 // rows that are taken, of multi vectors
}

func newSegment(kinds map[string]vectorKind, appendable bool) *segment {
	s := &segment{uuid: newUUID(), appendable: appendable, kinds: kinds, files: map[string]*file{}, stores: map[string]*vectorStore{}}
	s.files["version.info"] = newFile([]byte("0.6.0"), 0)
	s.files[s.tracker("mappings")] = newFile(nil, 0)
	s.files[s.tracker("versions")] = newFile(nil, 0)
	s.files[s.tracker("deleted")] = newFile(nil, maskSize)
	s.files[indexList] = newFile([]byte(`{"indices":{}}`), 0)
	s.payloads = newBlobs(s.files, "payload_storage")
	for name, kind := range kinds {
		s.stores[name] = s.newStore(name, kind)
	}
	s.describe()
	return s
}

// tracker is the name of an id tracker file.
func (s *segment) tracker(what string) string {
	if s.appendable {
		return "mutable_id_tracker." + what
	}
	return "id_tracker." + what
}

func storageName(kind, vector string) string {
	if vector == "" {
		return kind
	}
	return kind + "-" + vector
}

func (s *segment) newStore(name string, kind vectorKind) *vectorStore {
	st := &vectorStore{dir: storageName("vector_storage", name), kind: kind}
	s.files[st.dir+"/deleted/status.dat"] = newFile(nil, 16)
	s.files[st.dir+"/deleted/flags_a.dat"] = newFile(nil, maskSize)
	switch {
	case kind.sparse:
		st.sparse = newBlobs(s.files, st.dir+"/store")
	default:
		s.files[st.dir+"/vectors/config.json"] = newFile([]byte(fmt.Sprintf(`{"chunk_size_bytes":%d,"chunk_size_vectors":%d,"dim":%d}`, chunkSize, kind.perChunk(), kind.dim)), 0)
		s.files[st.dir+"/vectors/chunk_0.mmap"] = newFile(nil, chunkSize)
		if kind.multi {
			s.files[st.dir+"/offsets/chunk_0.mmap"] = newFile(nil, trackerSize)
		}
	}
	return st
}

func (k vectorKind) perChunk() int64 { return max(1, chunkSize/(4*int64(max(k.dim, 1)))) }

// row writes one row of float32.
func (s *segment) row(st *vectorStore, at int64, row []float32) {
	per := st.kind.perChunk()
	name := fmt.Sprintf("%s/vectors/chunk_%d.mmap", st.dir, at/per)
	if s.files[name] == nil {
		s.files[name] = newFile(nil, chunkSize)
	}
	s.files[name].writeAt(rowBytes(row), at%per*4*int64(st.kind.dim))
}

func (s *segment) readRow(st *vectorStore, at int64) ([]float32, error) {
	per := st.kind.perChunk()
	name := fmt.Sprintf("%s/vectors/chunk_%d.mmap", st.dir, at/per)
	f := s.files[name]
	if f == nil {
		return nil, fmt.Errorf("segment %s has no %s", s.uuid, name)
	}
	b, err := f.readAt(at%per*4*int64(st.kind.dim), 4*int64(st.kind.dim))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return rowFromBytes(b), nil
}

// add appends a point and returns its offset.
func (s *segment) add(p *point) int {
	off := len(s.ids)
	s.ids = append(s.ids, p.id)
	s.files[s.tracker("mappings")].writeAt(p.id.bytes(), int64(off)*idSize)
	s.write(off, p)
	return off
}

// write stores what a point consists of at its offset.
func (s *segment) write(off int, p *point) {
	s.files[s.tracker("versions")].writeAt(binary.LittleEndian.AppendUint64(nil, p.version), int64(off)*8)
	if p.stored == nil {
		s.payloads.clear(off)
	} else {
		s.payloads.put(off, p.stored)
	}
	for name, st := range s.stores {
		v, has := p.vectors[name]
		flags := s.files[st.dir+"/deleted/flags_a.dat"]
		if getBit(flags, off) == has {
			setBit(flags, off, !has)
		}
		if has {
			s.writeVector(st, off, v)
		}
	}
	s.touch(p.version)
}

func (s *segment) writeVector(st *vectorStore, off int, v vector) {
	switch {
	case st.sparse != nil:
		st.sparse.put(off, v.sparseBytes())
	case st.kind.multi:
		entry := binary.LittleEndian.AppendUint32(nil, uint32(st.rows))
		entry = binary.LittleEndian.AppendUint32(entry, uint32(len(v.rows)))
		s.files[st.dir+"/offsets/chunk_0.mmap"].writeAt(entry, int64(off)*8)
		for _, row := range v.rows {
			s.row(st, st.rows, row)
			st.rows++
		}
	default:
		s.row(st, int64(off), v.rows[0])
	}
}

// kill marks a point as deleted.
func (s *segment) kill(off int, version uint64) {
	setBit(s.files[s.tracker("deleted")], off, true)
	s.touch(version)
}

func (s *segment) touch(version uint64) {
	s.version, s.dirty = version, true
}

// freeze is what the segment consists of now, with indexes of these fields; later writes do not change it.
func (s *segment) freeze(fields []string) map[string]*file {
	if s.dirty {
		s.describe()
	}
	s.indexFields(fields)
	files := map[string]*file{}
	for name, f := range s.files {
		files[name] = f.frozen()
	}
	return files
}

// segmentJSON is segment.json.
type segmentJSON struct {
	Version    uint64                     `json:"version"`
	Appendable bool                       `json:"appendable"`
	Vectors    map[string]segmentVectors  `json:"vectors"`
	Config     map[string]json.RawMessage `json:"config,omitempty"`
}

type segmentVectors struct {
	Size     int    `json:"size"`
	Distance string `json:"distance,omitempty"`
	Datatype string `json:"datatype,omitempty"`
	Multi    bool   `json:"multi,omitempty"`
	Sparse   bool   `json:"sparse,omitempty"`
}

func (s *segment) describe() {
	d := segmentJSON{Version: s.version, Appendable: s.appendable, Vectors: map[string]segmentVectors{}}
	for name, k := range s.kinds {
		d.Vectors[name] = segmentVectors{Size: k.dim, Distance: k.distance, Datatype: k.datatype, Multi: k.multi, Sparse: k.sparse}
	}
	s.files["segment.json"], s.dirty = newFile(encode(d), 0), false
}

// index adds what an optimizer builds: graphs that never look the same twice.
func (s *segment) index() {
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(s.uuid))
	random := rand.New(rand.NewPCG(seed.Sum64(), 0)) // #nosec G404: noise
	for name, kind := range s.kinds {
		if kind.sparse {
			continue
		}
		dir := storageName("vector_index", name)
		s.files[dir+"/hnsw_config.json"] = newFile([]byte(`{"m":16,"m0":32,"ef_construct":100,"ef":100}`), 0)
		s.files[dir+"/graph.bin"] = newFile(noise(random, 64+len(s.ids)), 0)
		s.files[dir+"/links_compressed.bin"] = newFile(noise(random, 32*len(s.ids)), 0)
	}
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// archiveOrder puts file names in the order of an archive: the storages of vectors first, in no particular order when
// there are several, then payloads, and what describes the segment last.
func archiveOrder(files map[string]*file) []string {
	storages := map[string][]string{}
	var folders, single []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch group, _, nested := strings.Cut(name, "/"); {
		case strings.HasPrefix(group, "vector_"):
			storages[group] = append(storages[group], name)
		case nested:
			folders = append(folders, name)
		default:
			single = append(single, name)
		}
	}
	var names []string
	for _, list := range storages {
		names = append(names, list...)
	}
	return append(append(names, folders...), single...)
}
