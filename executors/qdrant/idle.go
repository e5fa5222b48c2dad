package qdrant

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// transfer begins a request whose answer is long, and breaks it off when nothing comes of it for a while: a connection that
// died without a word would be waited for until the kernel gives it up, if ever. Closing the body ends the request.
func (x *Executor) transfer(ctx context.Context, n *node, path string, prepare func(*http.Request), want ...int) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	still := &silence{fmt.Sprintf("GET %s: nothing came for %s", n.url+path, x.margins.idle)}
	timer := time.AfterFunc(x.margins.idle, func() { cancel(still) })
	resp, err := n.request(ctx, http.MethodGet, path, nil, prepare, want...)
	timer.Stop()
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = &idleBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, timer: timer, limit: x.margins.idle}
	return resp, nil
}

// idleBody is the body of a transfer. The clock runs while it is read only: what reads it may take its time.
type idleBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

// Read implements io.Reader.
func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.limit)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF && b.ctx.Err() != nil { //nolint:errorlint // a wrapped EOF is a failure
		err = context.Cause(b.ctx)
	}
	return n, err
}

// Close ends the request.
func (b *idleBody) Close() error {
	b.timer.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
