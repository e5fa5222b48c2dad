package qdrantserver

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// openSegment reads a segment back from its files and returns the points in it that are not deleted. Like Qdrant it is
// not strict: without its version a segment is passed over (nil), without its ids or their versions it is empty, and what
// is wrong with a vector or a payload is found out by whoever reads it.
func openSegment(id string, files map[string]*file) (*segment, map[int]*point, error) {
	s := &segment{uuid: id, kinds: map[string]vectorKind{}, files: files, stores: map[string]*vectorStore{}}
	if files["version.info"] == nil {
		return nil, nil, nil
	}
	var d segmentJSON
	f := files["segment.json"]
	if f == nil {
		return nil, nil, says("Failed to read segment state %s error: failed to open file `%s/segment.json`: No such file or directory (os error 2)", id, id)
	}
	if err := json.Unmarshal(f.data, &d); err != nil {
		return nil, nil, says("Failed to read segment state %s error: Failed to deserialize %s/segment.json: %v", id, id, err)
	}
	s.appendable, s.version = d.Appendable, d.Version
	for name, v := range d.Vectors {
		kind := vectorKind{dim: v.Size, distance: v.Distance, datatype: v.Datatype, multi: v.Multi, sparse: v.Sparse}
		s.kinds[name] = kind
		st := &vectorStore{dir: storageName("vector_storage", name), kind: kind}
		if kind.sparse {
			st.sparse = &blobs{files: files, dir: st.dir + "/store"}
			if err := st.sparse.reopen(); err != nil {
				return nil, nil, err
			}
		}
		if files[st.dir+"/deleted/flags_a.dat"] == nil {
			files[st.dir+"/deleted/flags_a.dat"] = newFile(nil, maskSize)
		}
		s.stores[name] = st
	}
	s.payloads = &blobs{files: files, dir: "payload_storage"}
	if err := s.payloads.reopen(); err != nil {
		return nil, nil, err
	}
	return s, s.readPoints(), nil
}

func (s *segment) readPoints() map[int]*point {
	mappings, versions, deleted := s.files[s.tracker("mappings")], s.files[s.tracker("versions")], s.files[s.tracker("deleted")]
	points := map[int]*point{}
	if mappings == nil || versions == nil || deleted == nil {
		for _, what := range []string{"mappings", "versions"} {
			s.files[s.tracker(what)] = newFile(nil, 0)
		}
		s.files[s.tracker("deleted")] = newFile(nil, maskSize)
		return points
	}
	for off := range int(min(mappings.size/idSize, versions.size/8)) {
		b, _ := mappings.readAt(int64(off)*idSize, idSize)
		id, err := idFromBytes(b)
		s.ids = append(s.ids, id)
		p := &point{id: id, vectors: map[string]vector{}}
		for name, st := range s.stores {
			if err := s.readVector(p, name, st, off); err != nil {
				p.badVector = err
			}
		}
		if err != nil || getBit(deleted, off) {
			continue
		}
		v, _ := versions.readAt(int64(off)*8, 8)
		p.version = binary.LittleEndian.Uint64(v)
		payload, err := s.payloads.get(off)
		if err == nil {
			err = p.setStored(payload)
		}
		p.badPayload = err
		points[off] = p
	}
	return points
}

func (s *segment) readVector(p *point, name string, st *vectorStore, off int) error {
	if getBit(s.files[st.dir+"/deleted/flags_a.dat"], off) {
		return nil
	}
	switch {
	case st.sparse != nil:
		b, err := st.sparse.get(off)
		if err != nil || b == nil {
			return err
		}
		v, err := sparseFromBytes(b)
		if err != nil {
			return err
		}
		p.vectors[name] = v
	case st.kind.multi:
		return s.readMulti(p, name, st, off)
	default:
		row, err := s.readRow(st, int64(off))
		if err != nil {
			return err
		}
		p.vectors[name] = vector{rows: [][]float32{row}}
	}
	return nil
}

func (s *segment) readMulti(p *point, name string, st *vectorStore, off int) error {
	offsets := s.files[st.dir+"/offsets/chunk_0.mmap"]
	if offsets == nil {
		return fmt.Errorf("segment %s lacks the offsets of vector %q", s.uuid, name)
	}
	entry, err := offsets.readAt(int64(off)*8, 8)
	if err != nil {
		return err
	}
	first, count := int64(binary.LittleEndian.Uint32(entry)), int64(binary.LittleEndian.Uint32(entry[4:]))
	v := vector{multi: true}
	for at := first; at < first+count; at++ {
		row, err := s.readRow(st, at)
		if err != nil {
			return err
		}
		v.rows = append(v.rows, row)
	}
	st.rows = max(st.rows, first+count)
	p.vectors[name] = v
	return nil
}

// decodeTree is a payload as values, with numbers as they were written.
func decodeTree(payload []byte) (map[string]any, error) {
	if payload == nil {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var tree map[string]any
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return tree, nil
}

// openLocal brings a replica's data back from the files of its segments. The newest version of a point wins. Nothing
// compares the vectors in the segments with those that the collection is for: Qdrant does not either.
func openLocal(kinds map[string]vectorKind, segments map[string]map[string]*file) (*local, error) {
	l := &local{points: map[pointID]*stored{}, vectors: kinds}
	for id, files := range segments {
		s, points, err := openSegment(id, files)
		if err != nil {
			return nil, err
		}
		if s == nil {
			continue
		}
		l.segments = append(l.segments, s)
		l.op = max(l.op, s.version)
		for off, p := range points {
			if old, ok := l.points[p.id]; ok {
				if old.version >= p.version {
					s.kill(off, s.version)
					continue
				}
				old.seg.kill(old.off, old.seg.version)
			}
			l.points[p.id] = &stored{point: p, seg: s, off: off}
		}
	}
	return l, nil
}
