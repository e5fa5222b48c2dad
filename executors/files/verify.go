package files

import (
	"context"
	"fmt"
	"io"

	"github.com/holdfast-io/holdfast/executors"
)

// Verify implements executors.Executor: it reads every byte as a restore would, compares sizes, and checks that every path
// and link could be restored. It writes nothing.
func (x *Executor) Verify(ctx context.Context, req executors.VerifyRequest, from executors.Supply) (executors.Result, error) {
	var res executors.Result
	buf := make([]byte, blockSize)
	err := from.Read(ctx, nil, func(e executors.Entry, content io.Reader) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := rawPath(e); err != nil {
			return err
		}
		switch e.Type {
		case executors.TypeSymlink, executors.TypeHardlink:
			if _, err := rawTarget(e); err != nil {
				return err
			}
		case executors.TypeFile, executors.TypeDir, executors.TypeFIFO:
		default:
			return fmt.Errorf("entry %q: its type %q is not one of files", e.Path, e.Type)
		}
		// The writer is hidden so that io.CopyBuffer really uses buf.
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, content, buf)
		if err == nil && e.Type == executors.TypeFile && n != e.Size {
			err = fmt.Errorf("the restore point holds %d bytes of content and says %d", n, e.Size)
		}
		if err != nil {
			return fmt.Errorf("verify %s: %w", e.Path, err)
		}
		res.Items++
		res.Bytes += n
		return nil
	})
	if err != nil {
		return executors.Result{}, err
	}
	logger(req.Log).Debug("tree verified", "items", res.Items, "bytes", res.Bytes)
	return res, nil
}
