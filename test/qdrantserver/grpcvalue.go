package qdrantserver

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func (id pointID) proto() *qdrant.PointId {
	if id.isUUID {
		return qdrant.NewID(id.String())
	}
	return qdrant.NewIDNum(id.num)
}

func idFromProto(id *qdrant.PointId) (pointID, error) {
	switch o := id.GetPointIdOptions().(type) {
	case *qdrant.PointId_Num:
		return pointID{num: o.Num}, nil
	case *qdrant.PointId_Uuid:
		parsed, err := parseUUID(o.Uuid)
		if err != nil {
			return pointID{}, status.Errorf(codes.InvalidArgument, "Unable to parse UUID: %s", o.Uuid)
		}
		return parsed, nil
	}
	return pointID{}, status.Error(codes.InvalidArgument, "No ID options provided")
}

// selectorOf reads what most requests have in common.
func selectorOf(sel *qdrant.ShardKeySelector, at *qdrant.PointId, f *qdrant.Filter) (keySelector, *pointID, *filter, error) {
	var keys keySelector
	for _, k := range sel.GetShardKeys() {
		keys.set = true
		switch k := k.GetKey().(type) {
		case *qdrant.ShardKey_Keyword:
			keys.keys = append(keys.keys, k.Keyword)
		case *qdrant.ShardKey_Number:
			keys.keys = append(keys.keys, k.Number)
		default:
			return keys, nil, nil, status.Error(codes.InvalidArgument, "Shard key is not specified")
		}
	}
	var offset *pointID
	if at != nil {
		id, err := idFromProto(at)
		if err != nil {
			return keys, nil, nil, err
		}
		offset = &id
	}
	converted, err := filterFromProto(f)
	return keys, offset, converted, err
}

func payloadSelector(sel *qdrant.WithPayloadSelector, otherwise bool) wanted {
	switch o := sel.GetSelectorOptions().(type) {
	case *qdrant.WithPayloadSelector_Enable:
		return wanted{all: o.Enable}
	case *qdrant.WithPayloadSelector_Include:
		return wanted{some: true, include: o.Include.GetFields()}
	case *qdrant.WithPayloadSelector_Exclude:
		return wanted{some: true, exclude: append([]string{}, o.Exclude.GetFields()...)}
	}
	return wanted{all: otherwise}
}

func vectorSelector(sel *qdrant.WithVectorsSelector) wanted {
	switch o := sel.GetSelectorOptions().(type) {
	case *qdrant.WithVectorsSelector_Enable:
		return wanted{all: o.Enable}
	case *qdrant.WithVectorsSelector_Include:
		return wanted{some: true, include: o.Include.GetNames()}
	}
	return wanted{}
}

func protoRecords(list []record, withPayload, withVector wanted) []*qdrant.RetrievedPoint {
	var out []*qdrant.RetrievedPoint
	for _, rec := range list {
		p := &qdrant.RetrievedPoint{Id: rec.id.proto(), Payload: map[string]*qdrant.Value{}}
		if payload := withPayload.payload(rec.point); payload != nil {
			tree, _ := decodeTree(payload) // it was read before
			for name, v := range tree {
				p.Payload[name] = protoValue(v)
			}
		}
		switch v := withVector.vector(rec.point).(type) {
		case vector:
			p.Vectors = &qdrant.VectorsOutput{VectorsOptions: &qdrant.VectorsOutput_Vector{Vector: v.proto()}}
		case map[string]vector:
			named := &qdrant.NamedVectorsOutput{Vectors: map[string]*qdrant.VectorOutput{}}
			for name, v := range v {
				named.Vectors[name] = v.proto()
			}
			p.Vectors = &qdrant.VectorsOutput{VectorsOptions: &qdrant.VectorsOutput_Vectors{Vectors: named}}
		}
		p.ShardKey = protoKey(rec.key)
		out = append(out, p)
	}
	return out
}

func protoKey(key any) *qdrant.ShardKey {
	switch k := key.(type) {
	case string:
		return qdrant.NewShardKey(k)
	case uint64:
		return qdrant.NewShardKeyNum(k)
	}
	return nil
}

func (v vector) proto() *qdrant.VectorOutput {
	switch {
	case v.rows == nil && !v.multi:
		return &qdrant.VectorOutput{Vector: &qdrant.VectorOutput_Sparse{Sparse: &qdrant.SparseVector{Indices: v.indices, Values: v.values}}}
	case v.multi:
		m := &qdrant.MultiDenseVector{}
		for _, row := range v.rows {
			m.Vectors = append(m.Vectors, &qdrant.DenseVector{Data: row})
		}
		return &qdrant.VectorOutput{Vector: &qdrant.VectorOutput_MultiDense{MultiDense: m}}
	}
	return &qdrant.VectorOutput{Vector: &qdrant.VectorOutput_Dense{Dense: &qdrant.DenseVector{Data: v.rows[0]}}}
}

func protoValue(v any) *qdrant.Value {
	switch v := v.(type) {
	case nil:
		return qdrant.NewValueNull()
	case bool:
		return qdrant.NewValueBool(v)
	case string:
		return qdrant.NewValueString(v)
	case json.Number:
		if i, err := v.Int64(); err == nil && !strings.ContainsAny(string(v), ".e") {
			return qdrant.NewValueInt(i)
		}
		f, _ := v.Float64()
		return qdrant.NewValueDouble(f)
	case []any:
		list := &qdrant.ListValue{}
		for _, e := range v {
			list.Values = append(list.Values, protoValue(e))
		}
		return &qdrant.Value{Kind: &qdrant.Value_ListValue{ListValue: list}}
	case object:
		s := &qdrant.Struct{Fields: map[string]*qdrant.Value{}}
		for name, e := range v {
			s.Fields[name] = protoValue(e)
		}
		return &qdrant.Value{Kind: &qdrant.Value_StructValue{StructValue: s}}
	}
	return qdrant.NewValueNull()
}

// jsonOf writes a value as JSON. Maps have no order in gRPC; here they get one.
func jsonOf(v *qdrant.Value) []byte {
	switch k := v.GetKind().(type) {
	case *qdrant.Value_BoolValue:
		return encode(k.BoolValue)
	case *qdrant.Value_IntegerValue:
		return strconv.AppendInt(nil, k.IntegerValue, 10)
	case *qdrant.Value_DoubleValue:
		return []byte(formatFloat(k.DoubleValue, 64))
	case *qdrant.Value_StringValue:
		return encode(k.StringValue)
	case *qdrant.Value_ListValue:
		list := []json.RawMessage{}
		for _, e := range k.ListValue.GetValues() {
			list = append(list, jsonOf(e))
		}
		return encode(list)
	case *qdrant.Value_StructValue:
		return jsonOfMap(k.StructValue.GetFields())
	}
	return []byte("null")
}

func jsonOfMap(m map[string]*qdrant.Value) []byte {
	fields := map[string]json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fields[name] = jsonOf(m[name])
	}
	return encode(fields)
}

func pointFromProto(in *qdrant.PointStruct) (*point, error) {
	id, err := idFromProto(in.Id)
	if err != nil {
		return nil, err
	}
	p := &point{id: id, vectors: map[string]vector{}}
	if len(in.Payload) > 0 {
		if err := p.setStored(jsonOfMap(in.Payload)); err != nil {
			return nil, grpcError(err)
		}
	} else {
		_ = p.setStored(json.RawMessage("{}"))
	}
	switch o := in.GetVectors().GetVectorsOptions().(type) {
	case *qdrant.Vectors_Vector:
		p.vectors[""], err = vectorFromProto(o.Vector)
	case *qdrant.Vectors_Vectors:
		for name, v := range o.Vectors.GetVectors() {
			if p.vectors[name], err = vectorFromProto(v); err != nil {
				return nil, err
			}
		}
	}
	return p, err
}

func vectorFromProto(in *qdrant.Vector) (vector, error) {
	switch o := in.GetVector().(type) {
	case *qdrant.Vector_Dense:
		return vector{rows: [][]float32{o.Dense.GetData()}}, nil
	case *qdrant.Vector_Sparse:
		return vector{indices: o.Sparse.GetIndices(), values: o.Sparse.GetValues()}, nil
	case *qdrant.Vector_MultiDense:
		v := vector{multi: true}
		for _, row := range o.MultiDense.GetVectors() {
			v.rows = append(v.rows, row.GetData())
		}
		return v, nil
	}
	//lint:ignore SA1019 the older form is still allowed
	data, indices, count := in.GetData(), in.GetIndices(), int(in.GetVectorsCount())
	switch {
	case indices != nil:
		return vector{indices: indices.GetData(), values: data}, nil
	case count > 0 && len(data)%count == 0:
		v := vector{multi: true}
		for row := range slices.Chunk(data, len(data)/count) {
			v.rows = append(v.rows, row)
		}
		return v, nil
	case data != nil:
		return vector{rows: [][]float32{data}}, nil
	}
	return vector{}, status.Error(codes.InvalidArgument, "No vector provided")
}
