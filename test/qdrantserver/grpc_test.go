package qdrantserver_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// rpc connects to a node's gRPC port.
func rpc(t *testing.T, s *qdranttest.Server, node int) (qdrant.PointsClient, qdrant.CollectionsClient, context.Context) {
	t.Helper()
	if node >= len(s.GRPC) {
		t.Fatal("HOLDFAST_TEST_QDRANT_GRPC does not name the gRPC address of the server")
	}
	conn, err := grpc.NewClient(s.GRPC[node], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx := t.Context()
	if s.APIKey != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "api-key", s.APIKey)
	}
	return qdrant.NewPointsClient(conn), qdrant.NewCollectionsClient(conn), ctx
}

func TestCopyThroughGRPC(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "copy")
	s.Fill(t, name, everyKind, 60, 0)
	s.Do(t, http.MethodPut, "/collections/"+name+"-new", everyKind)
	points, collections, ctx := rpc(t, s, 0)
	var offset *qdrant.PointId
	for {
		page, err := points.Scroll(ctx, &qdrant.ScrollPoints{CollectionName: name, Limit: qdrant.PtrOf(uint32(7)), Offset: offset, WithVectors: qdrant.NewWithVectors(true)})
		if err != nil {
			t.Fatal(err)
		}
		var batch []*qdrant.PointStruct
		for _, p := range page.Result {
			batch = append(batch, &qdrant.PointStruct{Id: p.Id, Payload: p.Payload, Vectors: vectorsOf(p.Vectors)})
		}
		if _, err := points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: name + "-new", Points: batch, Wait: qdrant.PtrOf(true)}); err != nil {
			t.Fatal(err)
		}
		if offset = page.NextPageOffset; offset == nil {
			break
		}
	}
	if diff := cmp.Diff(s.Image(t, name), s.Image(t, name+"-new")); diff != "" {
		t.Errorf("copied (-want +got):\n%s", diff)
	}
	n, err := points.Count(ctx, &qdrant.CountPoints{CollectionName: name + "-new", Exact: qdrant.PtrOf(true)})
	if err != nil || n.GetResult().GetCount() != 60 {
		t.Errorf("%v %v", n, err)
	}
	some, err := points.Get(ctx, &qdrant.GetPoints{CollectionName: name, Ids: []*qdrant.PointId{qdrant.NewIDNum(1), qdrant.NewIDNum(999)}})
	if err != nil || len(some.Result) != 1 || len(some.Result[0].Payload) != 0 {
		t.Errorf("get without asking for a payload: %v %v", some, err)
	}
	info, err := collections.Get(ctx, &qdrant.GetCollectionInfoRequest{CollectionName: name})
	if err != nil || info.GetResult().GetConfig().GetHnswConfig().GetM() != 24 || info.GetResult().GetConfig().GetMetadata()["owner"].GetStringValue() != "holdfast" {
		t.Errorf("%v %v", info, err)
	}
}

// vectorsOf turns vectors that were read into vectors to write.
func vectorsOf(out *qdrant.VectorsOutput) *qdrant.Vectors {
	named := map[string]*qdrant.Vector{}
	for name, v := range out.GetVectors().GetVectors() {
		switch o := v.GetVector().(type) {
		case *qdrant.VectorOutput_Dense:
			named[name] = qdrant.NewVectorDense(o.Dense.Data)
		case *qdrant.VectorOutput_Sparse:
			named[name] = qdrant.NewVectorSparse(o.Sparse.Indices, o.Sparse.Values)
		case *qdrant.VectorOutput_MultiDense:
			var rows [][]float32
			for _, row := range o.MultiDense.Vectors {
				rows = append(rows, row.Data)
			}
			named[name] = qdrant.NewVectorMulti(rows)
		}
	}
	return qdrant.NewVectorsMap(named)
}

func TestGRPCErrors(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "errors")
	s.Fill(t, name, nil, 3, 2)
	points, collections, ctx := rpc(t, s, 0)
	_, err := points.Scroll(ctx, &qdrant.ScrollPoints{CollectionName: name + "-none"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("scroll: %v", err)
	}
	_, err = points.Scroll(ctx, &qdrant.ScrollPoints{CollectionName: name, ShardKeySelector: &qdrant.ShardKeySelector{ShardKeys: []*qdrant.ShardKey{qdrant.NewShardKey("x")}}})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("scroll by key: %v", err)
	}
	_, err = points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: name, Points: []*qdrant.PointStruct{{Id: qdrant.NewIDNum(1), Vectors: qdrant.NewVectors(1, 2, 3)}}})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("upsert: %v", err)
	}
	got, err := collections.CollectionExists(ctx, &qdrant.CollectionExistsRequest{CollectionName: name})
	if err != nil || !got.GetResult().GetExists() {
		t.Errorf("%v %v", got, err)
	}
}

func TestGRPCKeys(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{APIKey: "all", ReadOnlyKey: "look"})
	name := s.Name(t, "keys")
	s.Fill(t, name, nil, 3, 2)
	points, _, _ := rpc(t, s, 0)
	for key, codesOf := range map[string][2]codes.Code{
		"": {codes.Unauthenticated, codes.Unauthenticated}, "look": {codes.OK, codes.PermissionDenied}, "all": {codes.OK, codes.OK},
	} {
		ctx := t.Context()
		if key != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "api-key", key)
		}
		_, read := points.Count(ctx, &qdrant.CountPoints{CollectionName: name})
		_, write := points.Upsert(ctx, &qdrant.UpsertPoints{CollectionName: name, Points: []*qdrant.PointStruct{{Id: qdrant.NewIDNum(1), Vectors: qdrant.NewVectors(1, 2)}}})
		if status.Code(read) != codesOf[0] || status.Code(write) != codesOf[1] {
			t.Errorf("%q: %v, %v", key, read, write)
		}
	}
}

func TestGRPCFaults(t *testing.T) {
	s := qdranttest.Start(t, qdrantserver.Options{})
	name := s.Name(t, "faults")
	s.Fill(t, name, nil, 3, 2)
	points, _, ctx := rpc(t, s, 0)
	scroll := func() error {
		got, err := points.Scroll(ctx, &qdrant.ScrollPoints{CollectionName: name})
		if err == nil && len(got.Result) != 3 {
			t.Errorf("%v", proto.Size(got))
		}
		return err
	}
	s.Own.Fault(0, qdrantserver.Fault{Path: "/qdrant.Points/Scroll", Times: 1, GRPCCode: codes.ResourceExhausted, Body: "slow down"})
	if err := scroll(); status.Code(err) != codes.ResourceExhausted || status.Convert(err).Message() != "slow down" {
		t.Errorf("%v", err)
	}
	s.Own.Fault(0, qdrantserver.Fault{Path: "/qdrant.Points/Scroll", Times: 1, DropAnswer: true})
	if err := scroll(); status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
	eventually(t, "the connection comes back", func() (bool, string) {
		err := scroll()
		return err == nil, status.Convert(err).Message()
	})
}
