package qdrantserver

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// grpcServer makes the server of a node's gRPC port.
func (n *node) grpcServer() *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.UnaryInterceptor(n.intercept), grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32),
	}
	if n.c.tls != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(n.c.tls.Clone())))
	}
	s := grpc.NewServer(opts...)
	qdrant.RegisterQdrantServer(s, &healthService{n: n})
	qdrant.RegisterPointsServer(s, &pointsService{n: n})
	qdrant.RegisterCollectionsServer(s, &collectionsService{n: n})
	return s
}

// intercept applies faults, then keys.
func (n *node) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if n.down.Load() {
		return nil, status.Error(codes.Unavailable, "node is down")
	}
	if f := n.c.faults.hit(n.index, "", info.FullMethod); f != nil {
		if done, err := n.faultyCall(ctx, f, func() { _, _ = n.authorized(ctx, req, info, handler) }); done {
			return nil, err
		}
	}
	return n.authorized(ctx, req, info, handler)
}

// faultyCall carries a fault out; done says that it took the place of the call.
func (n *node) faultyCall(ctx context.Context, f *Fault, work func()) (done bool, err error) {
	if f.Before != nil {
		f.Before()
	}
	cut := func() (bool, error) {
		if p, ok := peer.FromContext(ctx); ok {
			n.mu.Lock()
			l := n.grpcL
			n.mu.Unlock()
			l.cut(p.Addr.String())
		}
		return true, status.Error(codes.Unavailable, "connection was cut")
	}
	switch {
	case f.Hang:
		n.wait(ctx, -1)
		return true, status.Error(codes.Unavailable, "hung")
	case f.Delay > 0 && !n.wait(ctx, f.Delay):
		return true, status.Error(codes.Unavailable, "client left")
	case f.GRPCCode != codes.OK:
		return true, status.Error(f.GRPCCode, f.Body)
	case f.Status != 0:
		return true, status.Error(codes.Unavailable, http.StatusText(f.Status))
	case f.DropAnswer && f.Late > 0:
		n.c.later(f.Late, work)
		return cut()
	case f.DropAnswer:
		work()
		return cut()
	case f.CutAfter > 0 && !f.Clean:
		return cut()
	}
	return false, nil
}

type roleKey struct{}

func (n *node) authorized(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	first := func(name string) (string, bool) {
		if list := md.Get(name); len(list) > 0 {
			return list[0], true
		}
		return "", false
	}
	key, sent := first("api-key")
	authorization, _ := first("authorization")
	who, refused := n.c.roleOf(key, authorization, sent)
	if refused != "" && info.FullMethod != "/qdrant.Qdrant/HealthCheck" {
		return nil, status.Error(codes.Unauthenticated, refused)
	}
	return handler(context.WithValue(ctx, roleKey{}, who), req)
}

func roleIn(ctx context.Context) role {
	who, _ := ctx.Value(roleKey{}).(role)
	return who
}

type healthService struct {
	qdrant.UnimplementedQdrantServer
	n *node
}

func (s *healthService) HealthCheck(context.Context, *qdrant.HealthCheckRequest) (*qdrant.HealthCheckReply, error) {
	return &qdrant.HealthCheckReply{Title: "qdrant - vector search engine", Version: s.n.c.opts.Version, Commit: qdrant.PtrOf(commit)}, nil
}

type pointsService struct {
	qdrant.UnimplementedPointsServer
	n *node
}

func since(begun time.Time) float64 { return time.Since(begun).Seconds() }

func (s *pointsService) Scroll(_ context.Context, in *qdrant.ScrollPoints) (*qdrant.ScrollResponse, error) {
	begun := time.Now()
	if in.OrderBy != nil {
		return nil, status.Error(codes.Unimplemented, "order_by is not served here")
	}
	keys, offset, f, err := selectorOf(in.ShardKeySelector, in.Offset, in.Filter)
	if err != nil {
		return nil, err
	}
	limit := 10
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	if limit < 1 {
		return nil, status.Error(codes.InvalidArgument, "Validation error in body: [limit: value 0 invalid, must be 1 or larger]")
	}
	var page []record
	var next *pointID
	_, err = s.n.c.locked(func() (any, error) {
		col, err := s.n.c.find(in.CollectionName)
		if err == nil {
			err = col.checkRead(int(in.GetLimit()), f, false, 1)
		}
		if err == nil {
			page, next, err = s.n.c.scrolled(col, keys, s.n.peer, offset, limit, f)
		}
		return nil, err
	})
	if err != nil {
		return nil, grpcError(err)
	}
	withPayload, withVector := payloadSelector(in.WithPayload, true), vectorSelector(in.WithVectors)
	if err := damaged(page, withPayload, withVector); err != nil {
		return nil, grpcError(err)
	}
	out := &qdrant.ScrollResponse{Time: since(begun)}
	if next != nil {
		out.NextPageOffset = next.proto()
	}
	out.Result = protoRecords(page, withPayload, withVector)
	return out, nil
}

func (s *pointsService) Get(_ context.Context, in *qdrant.GetPoints) (*qdrant.GetResponse, error) {
	begun := time.Now()
	keys, _, _, err := selectorOf(in.ShardKeySelector, nil, nil)
	if err != nil {
		return nil, err
	}
	var ids []pointID
	for _, id := range in.Ids {
		parsed, err := idFromProto(id)
		if err != nil {
			return nil, err
		}
		ids = append(ids, parsed)
	}
	var found []record
	_, err = s.n.c.locked(func() (any, error) {
		col, err := s.n.c.find(in.CollectionName)
		if err == nil {
			err = col.checkRead(0, nil, false, len(ids))
		}
		if err == nil {
			found, err = s.n.c.retrieved(col, keys, s.n.peer, ids)
		}
		return nil, err
	})
	if err != nil {
		return nil, grpcError(err)
	}
	return &qdrant.GetResponse{Time: since(begun), Result: protoRecords(found, payloadSelector(in.WithPayload, false), vectorSelector(in.WithVectors))}, nil
}

func (s *pointsService) Count(_ context.Context, in *qdrant.CountPoints) (*qdrant.CountResponse, error) {
	begun := time.Now()
	keys, _, f, err := selectorOf(in.ShardKeySelector, nil, in.Filter)
	if err != nil {
		return nil, err
	}
	n, err := s.n.c.locked(func() (any, error) {
		col, err := s.n.c.find(in.CollectionName)
		if err == nil {
			err = col.checkRead(0, f, in.Exact == nil || *in.Exact, 1)
		}
		if err != nil {
			return 0, err
		}
		return s.n.c.counted(col, keys, s.n.peer, f)
	})
	if err != nil {
		return nil, grpcError(err)
	}
	return &qdrant.CountResponse{Time: since(begun), Result: &qdrant.CountResult{Count: uint64(n.(int))}}, nil
}

func (s *pointsService) Upsert(ctx context.Context, in *qdrant.UpsertPoints) (*qdrant.PointsOperationResponse, error) {
	begun := time.Now()
	if err := roleIn(ctx).mayWrite(); err != nil {
		return nil, grpcError(err)
	}
	keys, _, _, err := selectorOf(in.ShardKeySelector, nil, nil)
	if err != nil {
		return nil, err
	}
	var points []*point
	for _, p := range in.Points {
		parsed, err := pointFromProto(p)
		if err != nil {
			return nil, err
		}
		points = append(points, parsed)
	}
	var op uint64
	_, err = s.n.c.locked(func() (any, error) {
		col, err := s.n.c.find(in.CollectionName)
		if err == nil {
			err = s.n.c.upsert(col, points, keys)
		}
		if err == nil {
			op = col.lastOp()
		}
		return nil, err
	})
	if err != nil {
		return nil, grpcError(err)
	}
	state := qdrant.UpdateStatus_Acknowledged
	if in.GetWait() {
		state = qdrant.UpdateStatus_Completed
	}
	return &qdrant.PointsOperationResponse{Time: since(begun), Result: &qdrant.UpdateResult{OperationId: &op, Status: state}}, nil
}
