package qdrantserver

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

type collectionsService struct {
	qdrant.UnimplementedCollectionsServer
	n *node
}

func (s *collectionsService) List(context.Context, *qdrant.ListCollectionsRequest) (*qdrant.ListCollectionsResponse, error) {
	begun := time.Now()
	s.n.c.mu.Lock()
	defer s.n.c.mu.Unlock()
	out := &qdrant.ListCollectionsResponse{}
	for _, name := range slices.Sorted(maps.Keys(s.n.c.collections)) {
		out.Collections = append(out.Collections, &qdrant.CollectionDescription{Name: name})
	}
	out.Time = since(begun)
	return out, nil
}

func (s *collectionsService) CollectionExists(_ context.Context, in *qdrant.CollectionExistsRequest) (*qdrant.CollectionExistsResponse, error) {
	begun := time.Now()
	s.n.c.mu.Lock()
	defer s.n.c.mu.Unlock()
	_, err := s.n.c.find(in.CollectionName)
	return &qdrant.CollectionExistsResponse{Result: &qdrant.CollectionExists{Exists: err == nil}, Time: since(begun)}, nil
}

// Get tells most of what REST tells of a collection, but not the parameters of quantization and of indexes.
func (s *collectionsService) Get(_ context.Context, in *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	begun := time.Now()
	out, err := s.n.c.locked(func() (any, error) {
		col, err := s.n.c.find(in.CollectionName)
		if err != nil {
			return nil, err
		}
		info, err := s.n.c.info(col, s.n.peer)
		if err != nil {
			return nil, err
		}
		return protoInfo(col, info), nil
	})
	if err != nil {
		return nil, grpcError(err)
	}
	return &qdrant.GetCollectionInfoResponse{Result: out.(*qdrant.CollectionInfo), Time: since(begun)}, nil
}

var protoStatus = map[string]qdrant.CollectionStatus{
	"green": qdrant.CollectionStatus_Green, "yellow": qdrant.CollectionStatus_Yellow, "red": qdrant.CollectionStatus_Red, "grey": qdrant.CollectionStatus_Grey,
}

func protoInfo(col *collection, info object) *qdrant.CollectionInfo {
	name, _ := info["status"].(string)
	number := func(name string) uint64 {
		n, _ := info[name].(json.Number)
		i, _ := n.Int64()
		return uint64(i)
	}
	out := &qdrant.CollectionInfo{
		Status: protoStatus[name], OptimizerStatus: &qdrant.OptimizerStatus{Ok: info["optimizer_status"] == "ok"},
		SegmentsCount: number("segments_count"), PointsCount: qdrant.PtrOf(number("points_count")), IndexedVectorsCount: qdrant.PtrOf(uint64(0)),
		Config: &qdrant.CollectionConfig{Params: &qdrant.CollectionParams{
			ShardNumber:       uint32(col.number("shard_number")),
			ReplicationFactor: qdrant.PtrOf(uint32(col.number("replication_factor"))), WriteConsistencyFactor: qdrant.PtrOf(uint32(col.number("write_consistency_factor"))),
			OnDiskPayload: col.params()["on_disk_payload"] == true,
		}},
		PayloadSchema: map[string]*qdrant.PayloadSchemaInfo{},
	}
	fillConfig(out, info["config"].(object))
	for field, index := range info["payload_schema"].(object) {
		kind, _ := index.(object)["data_type"].(string)
		points, _ := index.(object)["points"].(json.Number).Int64()
		out.PayloadSchema[field] = &qdrant.PayloadSchemaInfo{DataType: protoTypes[kind], Points: qdrant.PtrOf(uint64(points))}
	}
	if e, bad := info["optimizer_status"].(object); bad {
		out.OptimizerStatus.Error, _ = e["error"].(string)
	}
	if col.custom() {
		out.Config.Params.ShardingMethod = qdrant.ShardingMethod_Custom.Enum()
	}
	named := map[string]*qdrant.VectorParams{}
	for name, kind := range kindsOf(col.params()) {
		if kind.sparse {
			if out.Config.Params.SparseVectorsConfig == nil {
				out.Config.Params.SparseVectorsConfig = &qdrant.SparseVectorConfig{Map: map[string]*qdrant.SparseVectorParams{}}
			}
			out.Config.Params.SparseVectorsConfig.Map[name] = &qdrant.SparseVectorParams{}
			continue
		}
		named[name] = &qdrant.VectorParams{Size: uint64(kind.dim), Distance: qdrant.Distance(qdrant.Distance_value[kind.distance])}
		if kind.multi {
			named[name].MultivectorConfig = &qdrant.MultiVectorConfig{Comparator: qdrant.MultiVectorComparator_MaxSim}
		}
	}
	if one, unnamed := named[""]; unnamed && len(named) == 1 {
		out.Config.Params.VectorsConfig = qdrant.NewVectorsConfig(one)
	} else if len(named) > 0 {
		out.Config.Params.VectorsConfig = qdrant.NewVectorsConfigMap(named)
	}
	return out
}

var protoTypes = map[string]qdrant.PayloadSchemaType{
	"keyword": qdrant.PayloadSchemaType_Keyword, "integer": qdrant.PayloadSchemaType_Integer, "float": qdrant.PayloadSchemaType_Float,
	"geo": qdrant.PayloadSchemaType_Geo, "text": qdrant.PayloadSchemaType_Text, "bool": qdrant.PayloadSchemaType_Bool,
	"datetime": qdrant.PayloadSchemaType_Datetime, "uuid": qdrant.PayloadSchemaType_Uuid,
}

// fillConfig takes over the parts of a configuration whose fields are called the same in both interfaces.
func fillConfig(out *qdrant.CollectionInfo, config object) {
	out.Config.HnswConfig, out.Config.OptimizerConfig, out.Config.WalConfig = &qdrant.HnswConfigDiff{}, &qdrant.OptimizersConfigDiff{}, &qdrant.WalConfigDiff{}
	read := func(name string, into proto.Message) {
		part, _ := pruned(config[name]).(object)
		delete(part, "max_optimization_threads") // a message of its own
		// What a field cannot hold stays unset.
		_ = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(encode(part), into)
	}
	read("hnsw_config", out.Config.HnswConfig)
	read("optimizer_config", out.Config.OptimizerConfig)
	read("wal_config", out.Config.WalConfig)
	if config["strict_mode_config"] != nil {
		out.Config.StrictModeConfig = &qdrant.StrictModeConfig{}
		read("strict_mode_config", out.Config.StrictModeConfig)
	}
	if metadata, ok := config["metadata"].(object); ok {
		out.Config.Metadata = map[string]*qdrant.Value{}
		for name, v := range metadata {
			out.Config.Metadata[name] = protoValue(v)
		}
	}
}
