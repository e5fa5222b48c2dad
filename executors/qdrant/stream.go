package qdrant

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
)

// shardPath is the path of a shard's endpoints.
func shardPath(collection string, id uint32, more ...string) string {
	return path(append([]string{"collections", collection, "shards", strconv.FormatUint(uint64(id), 10)}, more...)...)
}

// streamShard asks a node for a shard's archive as it is made. The server keeps no file; errors on its side look like the
// end of the body, so that only the archive itself tells whether it is whole.
func (x *Executor) streamShard(ctx context.Context, n *node, collection string, id uint32) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	resp, err := n.request(ctx, http.MethodGet, shardPath(collection, id, "snapshot"), nil, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &streamed{spool: newSpool(os.TempDir(), x.o.SpoolSize), body: resp.Body, cancel: cancel}
	s.filling.Go(func() { s.fill(resp.Body) })
	return s, nil
}

// streamed is a stream on its way through a spool.
type streamed struct {
	*spool
	body    io.Closer
	cancel  context.CancelFunc
	filling sync.WaitGroup
}

// Close ends the request, which makes the server let go of the shard.
func (s *streamed) Close() error {
	s.cancel()
	err := s.spool.Close()
	s.filling.Wait()
	_ = s.body.Close() // the request was given up or read to its end
	return err
}
