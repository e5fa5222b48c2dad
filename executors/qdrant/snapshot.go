package qdrant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// snapshotFile is a server's description of a snapshot that it keeps as a file.
type snapshotFile struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	Checksum string `json:"checksum"` // SHA-256; empty where the server keeps snapshots in S3
}

// nameStep is how far two snapshots of a shard must be apart to get names of their own.
const nameStep = 1100 * time.Millisecond

func (n *node) listSnapshots(ctx context.Context, collection string, id uint32) ([]snapshotFile, error) {
	var out []snapshotFile
	err := n.get(ctx, shardPath(collection, id, "snapshots"), &out)
	return out, err
}

// createSnapshot makes the server write a shard's snapshot to a file, and returns when it is there. When the connection is
// lost meanwhile the server goes on: the file that appears then is taken over. When the context ends, the file is waited for
// a moment and deleted.
func (x *Executor) createSnapshot(ctx context.Context, n *node, collection string, id uint32) (snapshotFile, error) {
	before, err := n.listSnapshots(ctx, collection, id)
	if err != nil {
		return snapshotFile{}, err
	}
	if len(before) > 0 {
		// A snapshot's name has the second in which it was made. One that somebody else has just made would be overwritten by
		// ours, and deleted with it.
		if err := sleep(ctx, nameStep); err != nil {
			return snapshotFile{}, err
		}
	}
	var made snapshotFile
	err = n.call(ctx, limitless, http.MethodPost, shardPath(collection, id, "snapshots")+"?wait=true", nil, &made)
	var said *statusError
	switch {
	case err == nil && made.Size <= 0:
		return snapshotFile{}, fmt.Errorf("the server says that its snapshot %q has %d bytes", made.Name, made.Size)
	case err == nil:
		return made, nil
	case ctx.Err() != nil:
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.margins.cleanup/4)
		defer cancel()
		found, ferr := x.appears(late, n, collection, id, before)
		if ferr == nil {
			ferr = x.deleteSnapshot(late, n, collection, id, found.Name)
		} else if !isGone(ferr) {
			ferr = fmt.Errorf("the snapshot of shard %d of %q that %s was asked for may appear there later, delete it then: %w", id, collection, n.url, ferr)
		}
		if ferr != nil && !isGone(ferr) {
			err = &lostSnapshot{errors.Join(err, ferr)}
		}
		return snapshotFile{}, err
	case errors.As(err, &said) && said.Status != http.StatusRequestTimeout && said.Status != http.StatusGatewayTimeout && said.Status != http.StatusBadGateway, isRefused(err):
		return snapshotFile{}, err
	}
	wait, cancel := context.WithTimeoutCause(ctx, x.o.Adopt, &lostSnapshot{fmt.Errorf("the request for a snapshot of shard %d of %q was lost (%w), and none appeared on %s within %s: delete it there if it appears later", id, collection, err, n.url, x.o.Adopt)})
	defer cancel()
	return x.appears(wait, n, collection, id, before)
}

// lostSnapshot says that a file may be left on the server, or appear there, which nobody can tell to be ours.
type lostSnapshot struct{ error }

// Unwrap gives the cause.
func (l *lostSnapshot) Unwrap() error { return l.error }

// appears waits for the one snapshot that was not there before.
func (x *Executor) appears(ctx context.Context, n *node, collection string, id uint32, before []snapshotFile) (snapshotFile, error) {
	for {
		now, err := n.listSnapshots(ctx, collection, id)
		if ctx.Err() != nil {
			return snapshotFile{}, context.Cause(ctx)
		}
		if err != nil && isGone(err) {
			return snapshotFile{}, err
		}
		fresh := slices.DeleteFunc(now, func(s snapshotFile) bool {
			return slices.ContainsFunc(before, func(b snapshotFile) bool { return b.Name == s.Name })
		})
		switch {
		case len(fresh) == 1:
			return fresh[0], nil
		case len(fresh) > 1:
			return snapshotFile{}, &lostSnapshot{fmt.Errorf("the request for a snapshot of shard %d of %q was lost, and %d appeared: it cannot be told which is ours. Whoever made the others should delete what is left of %s on %s",
				id, collection, len(fresh), fileNames(fresh), n.url)}
		}
		if err := sleep(ctx, x.o.Poll); err != nil {
			return snapshotFile{}, err
		}
	}
}

func fileNames(files []snapshotFile) string {
	var out []string
	for _, f := range files {
		out = append(out, f.Name)
	}
	return strings.Join(out, ", ")
}

// deleteSnapshot removes a file that createSnapshot returned. A file that is gone already is no error.
func (x *Executor) deleteSnapshot(ctx context.Context, n *node, collection string, id uint32, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.margins.cleanup)
	defer cancel()
	err := n.call(ctx, limitless, http.MethodDelete, shardPath(collection, id, "snapshots", name)+"?wait=true", nil, nil)
	if err != nil && !isGone(err) {
		return fmt.Errorf("snapshot %s of shard %d of %q is left on %s, delete it there: %w", name, id, collection, n.url, err)
	}
	return nil
}

// downloadSnapshot reads a file of the server's, and goes on where it stopped when the connection breaks or ends too early.
func (x *Executor) downloadSnapshot(ctx context.Context, n *node, collection string, id uint32, file snapshotFile) io.ReadCloser {
	return &download{x: x, ctx: ctx, node: n, path: shardPath(collection, id, "snapshots", file.Name), size: file.Size}
}

// download is a file on its way. Read resumes; the bytes that come are those of one and the same file, which its checksum
// proves afterwards.
type download struct {
	x    *Executor
	ctx  context.Context
	node *node
	path string
	size int64
	at   int64
	etag string
	body io.ReadCloser
	fail int // breaks since the last byte
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.at == d.size {
			return 0, io.EOF
		}
		if d.body == nil {
			if err := d.open(); err != nil {
				if d.give(err) {
					return 0, err
				}
				continue
			}
		}
		n, err := d.body.Read(p[:min(int64(len(p)), d.size-d.at)])
		d.at += int64(n)
		if err != nil {
			_ = d.body.Close() // it ended
			d.body = nil
		}
		switch {
		case n > 0:
			d.fail = 0
			return n, nil
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF // too early: the size is known
		}
		err = fmt.Errorf("download %s: stopped after %d of %d bytes: %w", d.node.url+d.path, d.at, d.size, err)
		if d.give(err) {
			return 0, err
		}
	}
}

// give waits before the next try, and tells whether there is none.
func (d *download) give(err error) bool {
	d.fail++
	var said *statusError
	if errors.As(err, &said) && said.Status < 500 && said.Status != http.StatusTooManyRequests || d.fail > d.x.margins.tries {
		return true
	}
	return sleep(d.ctx, backoff(d.fail)) != nil
}

// open asks for what is left.
func (d *download) open() error {
	resp, err := d.x.transfer(d.ctx, d.node, d.path, func(r *http.Request) {
		r.Header.Set("Accept-Encoding", "identity")
		if d.at > 0 {
			r.Header.Set("Range", "bytes="+strconv.FormatInt(d.at, 10)+"-")
			if d.etag != "" {
				r.Header.Set("If-Match", d.etag) // servers do not heed If-Range
			}
		}
	}, http.StatusPartialContent)
	if err != nil {
		return err
	}
	if etag := resp.Header.Get("ETag"); d.etag == "" && !strings.HasPrefix(etag, "W/") {
		d.etag = etag
	}
	d.body = resp.Body
	if d.at > 0 && resp.StatusCode == http.StatusOK { // all of it again: the server takes no ranges
		if _, err := io.CopyN(io.Discard, resp.Body, d.at); err != nil {
			_ = resp.Body.Close() // the next try opens it again
			d.body = nil
			return fmt.Errorf("download %s: skip the %d bytes that came before: %w", d.node.url+d.path, d.at, err)
		}
	}
	return nil
}

// Close ends the request.
func (d *download) Close() error {
	d.size = d.at
	if d.body == nil {
		return nil
	}
	return d.body.Close()
}
