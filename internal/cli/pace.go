package cli

import (
	"context"
	"io"

	"golang.org/x/time/rate"

	"github.com/holdfast-io/holdfast/executors"
)

// pace limits how fast a backup reads its source, whatever number of its items are read at once. A nil pace does not.
type pace struct{ limit *rate.Limiter }

// newPace returns a pace of so many bytes a second; nil for none.
func newPace(perSecond int64) *pace {
	if perSecond <= 0 {
		return nil
	}
	step := int(min(max(perSecond/10, 1), 1<<30)) // what may pass at once: a tenth of a second
	return &pace{rate.NewLimiter(rate.Limit(perSecond), step)}
}

// slow makes what is opened readable at the pace only.
func (p *pace) slow(ctx context.Context, open executors.OpenFunc) func() (io.ReadCloser, error) {
	if p == nil || open == nil {
		return open
	}
	return func() (io.ReadCloser, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		return &paced{ReadCloser: r, ctx: ctx, limit: p.limit}, nil
	}
}

type paced struct {
	io.ReadCloser
	ctx   context.Context
	limit *rate.Limiter
}

// Read reads no more than may pass at once, then waits for it. What was read is returned when the context ends meanwhile,
// with the reason.
func (r *paced) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b[:min(len(b), r.limit.Burst())])
	if n == 0 {
		return n, err
	}
	if waitErr := r.limit.WaitN(r.ctx, n); waitErr != nil && err == nil {
		err = waitErr
		if r.ctx.Err() != nil {
			err = context.Cause(r.ctx)
		}
	}
	return n, err
}
