package qdrant

import (
	"context"
	"io"
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
	resp, err := x.transfer(ctx, n, shardPath(collection, id, "snapshot"), nil)
	if err != nil {
		return nil, err
	}
	s := &streamed{spool: newSpool(os.TempDir(), x.o.SpoolSize), body: resp.Body}
	s.filling.Go(func() { s.fill(resp.Body) })
	return s, nil
}

// streamed is a stream on its way through a spool.
type streamed struct {
	*spool
	body    io.Closer
	filling sync.WaitGroup
}

// Close ends the request, which makes the server let go of the shard.
func (s *streamed) Close() error {
	err := s.spool.Close()
	_ = s.body.Close() // the request is given up, or was read to its end
	s.filling.Wait()
	return err
}
