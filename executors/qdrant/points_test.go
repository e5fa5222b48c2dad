package qdrant

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	client "github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

func output(one *client.VectorOutput) *client.VectorsOutput {
	return &client.VectorsOutput{VectorsOptions: &client.VectorsOutput_Vector{Vector: one}}
}

func outputs(named map[string]*client.VectorOutput) *client.VectorsOutput {
	return &client.VectorsOutput{VectorsOptions: &client.VectorsOutput_Vectors{Vectors: &client.NamedVectorsOutput{Vectors: named}}}
}

func dense(v ...float32) *client.VectorOutput {
	return &client.VectorOutput{Vector: &client.VectorOutput_Dense{Dense: &client.DenseVector{Data: v}}}
}

func sparseOutput(indices []uint32, values ...float32) *client.VectorOutput {
	return &client.VectorOutput{Vector: &client.VectorOutput_Sparse{Sparse: &client.SparseVector{Indices: indices, Values: values}}}
}

func multi(rows ...[]float32) *client.VectorOutput {
	m := &client.MultiDenseVector{}
	for _, row := range rows {
		m.Vectors = append(m.Vectors, &client.DenseVector{Data: row})
	}
	return &client.VectorOutput{Vector: &client.VectorOutput_MultiDense{MultiDense: m}}
}

// flat is a vector as servers before 1.16 tell it: its kind is in what else is set.
func flat(data []float32, indices []uint32, count uint32) *client.VectorOutput {
	//lint:ignore SA1019 old servers set nothing else
	v := &client.VectorOutput{Data: data}
	if indices != nil {
		//lint:ignore SA1019 the same
		v.Indices = &client.SparseIndices{Data: indices}
	}
	if count > 0 {
		//lint:ignore SA1019 the same
		v.VectorsCount = &count
	}
	return v
}

// What is read, encoded, decoded and made ready to be written again is what was there.
func TestPoints(t *testing.T) {
	payload := map[string]*client.Value{"n": client.NewValueInt(math.MaxInt64), "f": client.NewValueDouble(2), "nothing": client.NewValueNull(), "list": client.NewValueList(&client.ListValue{})}
	points, want := []*client.RetrievedPoint{}, []*client.PointStruct{}
	for _, c := range []struct {
		vectors *client.VectorsOutput
		want    *client.Vectors
	}{
		{output(dense(1, 0.5, -0)), client.NewVectors(1, 0.5, -0)},
		{output(sparseOutput([]uint32{3, 9}, 1, 2)), client.NewVectorsSparse([]uint32{3, 9}, []float32{1, 2})},
		{output(multi([]float32{1, 2}, []float32{3, 4})), client.NewVectorsMulti([][]float32{{1, 2}, {3, 4}})},
		{
			outputs(map[string]*client.VectorOutput{"": dense(1), "words": sparseOutput([]uint32{7}, 5), "parts": multi([]float32{1})}),
			client.NewVectorsMap(map[string]*client.Vector{"": client.NewVectorDense([]float32{1}), "words": client.NewVectorSparse([]uint32{7}, []float32{5}), "parts": client.NewVectorMulti([][]float32{{1}})}),
		},
		{nil, client.NewVectorsMap(map[string]*client.Vector{})},
		{outputs(nil), client.NewVectorsMap(map[string]*client.Vector{})},
		{output(flat([]float32{1, 2, 3}, nil, 0)), client.NewVectors(1, 2, 3)},
		{output(flat([]float32{1, 2}, []uint32{4, 8}, 0)), client.NewVectorsSparse([]uint32{4, 8}, []float32{1, 2})},
		{output(flat([]float32{1, 2, 3, 4}, nil, 2)), client.NewVectorsMulti([][]float32{{1, 2}, {3, 4}})},
	} {
		id := client.NewIDNum(uint64(len(points)))
		if len(points)%2 == 1 {
			id = client.NewID("1f0e0000-0000-4000-8000-00000000000a")
		}
		points = append(points, &client.RetrievedPoint{Id: id, Payload: payload, Vectors: c.vectors})
		want = append(want, &client.PointStruct{Id: id, Payload: payload, Vectors: c.want})
	}
	var data, again []byte
	for _, p := range points {
		var err error
		if data, err = appendPoint(data, p); err != nil {
			t.Fatal(err)
		}
		if again, err = appendPoint(again, proto.CloneOf(p)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(data, again) {
		t.Error("equal points give different bytes")
	}
	got := []*client.PointStruct{}
	d := newPointDecoder(iotest.OneByteReader(bytes.NewReader(data)))
	for {
		p, err := d.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, toWrite(p))
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("points to write (-want +got):\n%s", diff)
	}
	// A cut at any byte is noticed, except between two points: the number of points is for that.
	for cut := range len(data) {
		d := newPointDecoder(bytes.NewReader(data[:cut]))
		var n int
		for {
			p, err := d.next()
			if err == nil {
				n += len(frame(t, p))
				continue
			}
			if errors.Is(err, io.EOF) != (n == cut) {
				t.Errorf("cut at %d behind %d whole bytes: %v", cut, n, err)
			}
			break
		}
	}
}

func frame(t *testing.T, p *client.RetrievedPoint) []byte {
	t.Helper()
	data, err := appendPoint(nil, p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestPointDecoderRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"a length that nothing has", binary.AppendUvarint(nil, maxPointSz+1), "point 1 claims 268435457 bytes"},
		{"a length that is no number", bytes.Repeat([]byte{0xff}, 11), "point 1: binary: varint overflows"},
		{"a length without a point", binary.AppendUvarint(nil, maxPointSz), "point 1: unexpected EOF"},
		{"no message", []byte{3, 0xff, 0xff, 0xff}, "point 1: proto:"},
		{"no id", []byte{0}, "point 1 has no id"},
	} {
		if _, err := newPointDecoder(bytes.NewReader(c.data)).next(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	broken := errors.New("the store is broken")
	if _, err := newPointDecoder(io.MultiReader(bytes.NewReader([]byte{200}), iotest.ErrReader(broken))).next(); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

// Hostile bytes: no panic, no memory by a claimed length; what is a point comes back the same when it is encoded again.
func FuzzPointDecoder(f *testing.F) {
	for _, p := range []*client.RetrievedPoint{
		{Id: client.NewIDNum(1), Vectors: output(dense(1, 2))},
		{Id: client.NewID("a"), Payload: map[string]*client.Value{"k": client.NewValueString("v")}, Vectors: outputs(map[string]*client.VectorOutput{"w": sparseOutput([]uint32{1}, 2)})},
	} {
		data, err := appendPoint(nil, p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(append(data, data...))
	}
	f.Add(binary.AppendUvarint(nil, maxPointSz))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newPointDecoder(bytes.NewReader(data))
		for {
			p, err := d.next()
			if cap(d.buf) > 4<<20+4*len(data) {
				t.Fatalf("%d bytes are kept for %d bytes of input", cap(d.buf), len(data))
			}
			if err != nil {
				return
			}
			toWrite(p)
			again, err := newPointDecoder(bytes.NewReader(frame(t, p))).next()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(p, again, protocmp.Transform()); diff != "" {
				t.Fatalf("encoded and decoded again (-first +second):\n%s", diff)
			}
		}
	})
}

func TestPointIDs(t *testing.T) {
	for _, text := range []string{`0`, `18446744073709551615`, `"1f0e0000-0000-4000-8000-00000000000a"`} {
		id, err := parseID(raw(text))
		if err != nil || string(idJSON(id)) != text {
			t.Errorf("%s became %v, %v", text, id, err)
		}
	}
	for _, bad := range []string{``, `-1`, `1.5`, `null`, `{}`, `18446744073709551616`} {
		if id, err := parseID(raw(bad)); err == nil {
			t.Errorf("%s became %v", bad, id)
		}
	}
	if got := shardKey(raw(`"tenant"`)).GetKeyword(); got != "tenant" {
		t.Errorf("a text is %q", got)
	}
	if got := shardKey(raw(`42`)).GetNumber(); got != 42 {
		t.Errorf("a number is %d", got)
	}
	if selector(nil) != nil {
		t.Error("without a key there is a selector")
	}
}

func TestPageSize(t *testing.T) {
	for _, c := range []struct {
		name, config string
		asked, want  int
	}{
		{"small points", `{"params": {"vectors": {"size": 4}}}`, 0, maxPage},
		{"by bytes", `{"params": {"vectors": {"size": 16384}}}`, 0, pageBytes / (1<<10 + 4*16384)},
		{"all vectors count", `{"params": {"vectors": {"a": {"size": 8192}, "b": {"size": 8192}}, "sparse_vectors": {"w": {}}}}`, 0, pageBytes / (2<<10 + 4*16384)},
		{"never less than one", `{"params": {"vectors": {"size": 65535000}}}`, 0, 1},
		{"as asked", `{"params": {"vectors": {"size": 4}}}`, 64, 64},
		{"no vectors", `{"params": {"vectors": {}}}`, 0, maxPage},
		{"strict mode", `{"params": {}, "strict_mode_config": {"enabled": true, "max_query_limit": 20}}`, 64, 20},
		{"the other limit of it", `{"params": {}, "strict_mode_config": {"enabled": true, "max_query_limit": 20, "upsert_max_batchsize": 7}}`, 0, 7},
		{"strict mode without these limits", `{"params": {}, "strict_mode_config": {"enabled": true}}`, 64, 64},
		{"strict mode that is off", `{"params": {}, "strict_mode_config": {"enabled": false, "max_query_limit": 20}}`, 64, 64},
		{"null", `{"params": {}, "strict_mode_config": null}`, 64, 64},
	} {
		cfg, err := (&info{Config: raw(c.config)}).parsed()
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.pageSize(c.asked); got != c.want {
			t.Errorf("%s: %d points, want %d", c.name, got, c.want)
		}
		if got := cfg.pageSizeUnbound(); got < 1 || got > maxPage {
			t.Errorf("%s: %d points without strict mode", c.name, got)
		}
	}
}
