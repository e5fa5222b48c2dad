package qdrantserver

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sort"
)

// vectorKind says what the vectors of one name are like.
type vectorKind struct {
	dim      int
	distance string
	datatype string
	multi    bool
	sparse   bool
}

// vector is one vector of a point: dense, several dense ones, or sparse.
type vector struct {
	rows    [][]float32 // one row when dense, any number when multi
	multi   bool
	indices []uint32
	values  []float32
}

// kindsOf reads the vectors that a collection is made for from its parameters. "" is the vector without a name.
func kindsOf(params map[string]any) map[string]vectorKind {
	kinds := map[string]vectorKind{}
	add := func(name string, spec map[string]any) {
		k := vectorKind{multi: spec["multivector_config"] != nil}
		if n, ok := spec["size"].(json.Number); ok {
			i, _ := n.Int64()
			k.dim = int(i)
		}
		k.distance, _ = spec["distance"].(string)
		k.datatype, _ = spec["datatype"].(string)
		kinds[name] = k
	}
	if vectors, ok := params["vectors"].(map[string]any); ok {
		if _, single := vectors["size"].(json.Number); single {
			add("", vectors)
		} else {
			for name, spec := range vectors {
				if spec, ok := spec.(map[string]any); ok {
					add(name, spec)
				}
			}
		}
	}
	if sparse, ok := params["sparse_vectors"].(map[string]any); ok {
		for name := range sparse {
			kinds[name] = vectorKind{sparse: true}
		}
	}
	return kinds
}

// prepare checks a vector against what its name is for and brings it into the form it is stored in.
func (k vectorKind) prepare(v vector) (vector, error) {
	if k.sparse {
		return prepareSparse(v)
	}
	if v.rows == nil {
		return v, badInput("Conversion between sparse and regular vectors failed")
	}
	if !k.multi && (v.multi || len(v.rows) != 1) {
		return v, badInput("Conversion between multi and regular vectors failed")
	}
	var rows [][]float32
	for _, row := range v.rows {
		if len(row) != k.dim {
			return v, badInput("Vector dimension error: expected dim: %d, got %d", k.dim, len(row))
		}
		rows = append(rows, k.stored(row))
	}
	return vector{rows: rows, multi: k.multi}, nil
}

// stored is a row as the storage keeps it: normalised for cosine, rounded for small data types.
func (k vectorKind) stored(row []float32) []float32 {
	row = slices.Clone(row)
	if k.distance == "Cosine" && k.datatype != "uint8" {
		row = normalized(row)
	}
	for i, f := range row {
		switch k.datatype {
		case "uint8":
			row[i] = float32(uint8(max(0, min(255, f))))
		case "float16":
			row[i] = roundHalf(f)
		}
	}
	return row
}

func normalized(row []float32) []float32 {
	var length float32
	for _, f := range row {
		length += f * f
	}
	const epsilon = 1.1920929e-07
	if length < epsilon || math.Abs(float64(length-1)) <= 1e-6 {
		return row
	}
	length = float32(math.Sqrt(float64(length)))
	for i := range row {
		row[i] /= length
	}
	return row
}

// roundHalf is the nearest number that half the bits can hold.
func roundHalf(f float32) float32 {
	if f == 0 || math.IsInf(float64(f), 0) || math.IsNaN(float64(f)) {
		return f
	}
	_, exponent := math.Frexp(float64(f))
	step := math.Ldexp(1, max(exponent-11, -24))
	return float32(math.RoundToEven(float64(f)/step) * step)
}

func prepareSparse(v vector) (vector, error) {
	if v.rows != nil {
		return v, badInput("Conversion between sparse and regular vectors failed")
	}
	order := make([]int, len(v.indices))
	for i := range order {
		order[i] = i
	}
	sort.Slice(order, func(a, b int) bool { return v.indices[order[a]] < v.indices[order[b]] })
	sorted := vector{indices: make([]uint32, len(order)), values: make([]float32, len(order))}
	for i, at := range order {
		sorted.indices[i], sorted.values[i] = v.indices[at], v.values[at]
	}
	return sorted, nil
}

// MarshalJSON writes a vector as answers show it.
func (v vector) MarshalJSON() ([]byte, error) {
	if v.rows == nil {
		return encode(map[string]any{"indices": append([]uint32{}, v.indices...), "values": float32s(v.values)}), nil
	}
	if v.multi {
		rows := []float32s{}
		for _, row := range v.rows {
			rows = append(rows, row)
		}
		return encode(rows), nil
	}
	return float32s(v.rows[0]).MarshalJSON()
}

// sparseBytes is a sparse vector as its storage holds it.
func (v vector) sparseBytes() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(v.indices)))
	for i, index := range v.indices {
		b = binary.LittleEndian.AppendUint32(b, index)
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v.values[i]))
	}
	return b
}

func sparseFromBytes(b []byte) (vector, error) {
	if len(b) < 4 || uint64(len(b)) < 4+8*uint64(binary.LittleEndian.Uint32(b)) {
		return vector{}, fmt.Errorf("sparse vector of %d bytes", len(b))
	}
	n := int(binary.LittleEndian.Uint32(b))
	v := vector{indices: make([]uint32, n), values: make([]float32, n)}
	for i := range n {
		v.indices[i] = binary.LittleEndian.Uint32(b[4+8*i:])
		v.values[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[8+8*i:]))
	}
	return v, nil
}

func rowBytes(row []float32) []byte {
	b := make([]byte, 0, 4*len(row))
	for _, f := range row {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

func rowFromBytes(b []byte) []float32 {
	row := make([]float32, len(b)/4)
	for i := range row {
		row[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return row
}

// UnmarshalJSON reads a vector in any of the forms that a request may use.
func (v *vector) UnmarshalJSON(text []byte) error {
	var dense []number
	if json.Unmarshal(text, &dense) == nil && dense != nil {
		v.rows = [][]float32{plainRow(dense)}
		return nil
	}
	var multi [][]number
	if json.Unmarshal(text, &multi) == nil && multi != nil {
		*v = vector{multi: true}
		for _, row := range multi {
			v.rows = append(v.rows, plainRow(row))
		}
		return nil
	}
	var sparse struct {
		Indices []uint32 `json:"indices"`
		Values  []number `json:"values"`
	}
	if err := json.Unmarshal(text, &sparse); err != nil || sparse.Indices == nil || sparse.Values == nil {
		return fmt.Errorf("data did not match any variant of untagged enum Vector")
	}
	v.indices, v.values = sparse.Indices, plainRow(sparse.Values)
	return nil
}

// number is a number of a vector, read as parseFloat does.
type number float32

func (n *number) UnmarshalJSON(text []byte) error {
	if len(text) == 0 || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return fmt.Errorf("no number: %s", text)
	}
	f, err := parseFloat(string(text))
	*n = number(f)
	return err
}

func plainRow(row []number) []float32 {
	out := make([]float32, len(row))
	for i, n := range row {
		out[i] = float32(n)
	}
	return out
}
