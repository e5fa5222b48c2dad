// Package cloud keeps objects in S3, Google Cloud Storage, Azure Blob Storage or memory, through gocloud.dev/blob.
//
// It is not where requests are repeated: internal/blob/retry does that, and what the clients would repeat by themselves is
// switched off wherever it would make an answer untrue. A client that sends a conditional write again after a lost answer
// hears "exists" about its own object; the invariant here is that blob.ErrExists comes from the first and only request.
package cloud

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azure "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	gocloud "gocloud.dev/blob"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Bucket is the part of one cloud bucket below a prefix. Safe for concurrent use.
type Bucket struct {
	inner    *gocloud.Bucket
	put      putFunc
	remove   removeFunc
	guards   guardsFunc
	place    string // for messages, such as s3://bucket
	prefix   string // empty or ending in "/"
	pageSize int    // objects asked for in one listing request
	unsorted bool   // the service promises no byte order
	shared   bool   // inner outlives this bucket
	closed   atomic.Bool
}

var _ interface {
	blob.Bucket
	blob.Guarded
} = (*Bucket)(nil)

// How a scheme writes and deletes, each in one request that is never repeated, and tells its guards. Names include the prefix.
type (
	putFunc    func(ctx context.Context, key string, data []byte, ifAbsent bool) error
	removeFunc func(ctx context.Context, key string) error
	guardsFunc func(ctx context.Context) (blob.Guards, error)
)

// contentType is what objects are to a service: bytes.
const contentType = "application/octet-stream"

// Schemes are the URL schemes that Open knows.
var Schemes = []string{"s3", "gs", "azblob", "mem"}

// Open opens u, whose host names the bucket (the container in Azure), whose path is a prefix inside it, and whose query is
// handed to the driver; docs/stores.md lists the parameters. It looks into the bucket once, so that a wrong name or missing
// credentials are found here and not by the first backup: blob.ErrNotFound, blob.ErrDenied.
//
// mem://NAME is one bucket for the whole process, mem:// a new one each time.
func Open(ctx context.Context, u *url.URL) (*Bucket, error) {
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		if err := blob.CheckName(prefix); err != nil {
			return nil, fmt.Errorf("open store %s: the path cannot be a prefix of objects: %w", u.Redacted(), err)
		}
		prefix += "/"
	}
	b := &Bucket{place: u.Scheme + "://" + u.Host, prefix: prefix, pageSize: 1000}
	if u.Scheme == "mem" {
		b.inner, b.shared = openMemory(u.Host)
		b.put, b.remove, b.pageSize = putWith(b.inner), b.inner.Delete, memoryPage
		return b, nil
	}
	if u.Host == "" {
		return nil, fmt.Errorf("open store %s: the URL names no bucket", u.Redacted())
	}
	if err := b.connect(ctx, u); err != nil {
		return nil, b.fail(ctx, "open", "", err)
	}
	if _, _, err := b.inner.ListPage(b.context(ctx), gocloud.FirstPageToken, 1, &gocloud.ListOptions{Prefix: prefix}); err != nil {
		_ = b.inner.Close()
		return nil, b.fail(ctx, "open", "", err)
	}
	return b, nil
}

func (b *Bucket) connect(ctx context.Context, u *url.URL) error {
	bare := *u
	bare.Path, bare.RawPath = "", ""
	for _, p := range []string{"prefix", "key"} {
		if bare.Query().Has(p) {
			return fmt.Errorf("the parameter %q is not supported; write the prefix as the path: %s/…", p, b.place)
		}
	}
	var err error
	switch u.Scheme {
	case "s3":
		// Directory buckets list in no order, and their names are the only sign of them.
		b.unsorted = strings.HasSuffix(u.Host, "--x-s3")
		err = b.openS3(ctx, &bare)
	case "gs":
		err = b.openGoogle(ctx, &bare)
	case "azblob":
		// The documented order is alphabetical, which accounts with folders apply to each segment of a name.
		b.unsorted = true
		err = b.openAzure(ctx, &bare)
	default:
		err = fmt.Errorf("unknown scheme %q", u.Scheme)
	}
	return err
}

// context switches off what Azure's client would repeat by itself.
func (b *Bucket) context(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
}

func (b *Bucket) begin(ctx context.Context, name string) error {
	if b.closed.Load() {
		return errors.New("the store is closed")
	}
	if err := blob.CheckName(name); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Put uploads the object in one request.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	return b.write(ctx, "put", name, data)
}

// Create uploads the object in one conditional request.
func (b *Bucket) Create(ctx context.Context, name string, data []byte) error {
	return b.write(ctx, "create", name, data)
}

func (b *Bucket) write(ctx context.Context, op, name string, data []byte) error {
	err := b.begin(ctx, name)
	if err == nil {
		err = b.put(b.context(ctx), b.prefix+name, data, op == "create")
	}
	if err != nil {
		return b.fail(ctx, op, name, err)
	}
	return nil
}

// Get downloads the object.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	if err := b.begin(ctx, name); err != nil {
		return nil, b.fail(ctx, "get", name, err)
	}
	data, err := b.read(ctx, name, 0, -1)
	if err != nil {
		return nil, b.fail(ctx, "get", name, err)
	}
	return data, nil
}

// GetRange downloads a part of the object.
func (b *Bucket) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	err := b.begin(ctx, name)
	if err == nil && (offset < 0 || length < 0 || offset+length < 0) {
		err = fmt.Errorf("%d bytes from %d is no range", length, offset)
	}
	if err != nil {
		return nil, b.fail(ctx, "get", name, err)
	}
	if length == 0 {
		// Services refuse an empty range at the very end, where it is as good as anywhere.
		info, err := b.Stat(ctx, name)
		if err == nil && offset > info.Size {
			err = b.fail(ctx, "get", name, outside(offset, length, info.Size))
		}
		return []byte{}, err
	}
	data, err := b.read(ctx, name, offset, length)
	if err != nil {
		return nil, b.fail(ctx, "get", name, err)
	}
	return data, nil
}

func outside(offset, length, size int64) error {
	return fmt.Errorf("range of %d bytes from %d is outside the object's %d bytes", length, offset, size)
}

// firstAlloc bounds what is allocated on the word of the other side, in bytes.
const firstAlloc = 64 << 20

// read downloads length bytes, or everything from offset if length is negative.
func (b *Bucket) read(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	r, err := b.inner.NewRangeReader(countResumes(b.context(ctx)), b.prefix+name, offset, length, nil)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	want := length
	if length < 0 {
		want = r.Size() - offset
	} else if length > r.Size()-offset {
		return nil, outside(offset, length, r.Size())
	}
	var buf bytes.Buffer
	buf.Grow(int(min(want, firstAlloc)) + bytes.MinRead)
	// Reading to the end, and not only to the length, is what makes the client compare the checksum of the service.
	n, err := io.Copy(&buf, plainReader{r})
	if err != nil {
		return nil, fmt.Errorf("read %d of %d bytes: %w", n, want, err)
	}
	if n != want {
		return nil, blob.Retryable(fmt.Errorf("read %d bytes instead of %d: %w", n, want, io.ErrUnexpectedEOF))
	}
	var whole azure.DownloadStreamResponse
	if length < 0 && r.As(&whole) && len(whole.ContentMD5) > 0 {
		if sum := md5.Sum(buf.Bytes()); !bytes.Equal(sum[:], whole.ContentMD5) { // its client leaves that to us
			return nil, blob.Retryable(fmt.Errorf("read %d bytes that do not match the service's MD5 of the object", n))
		}
	}
	return buf.Bytes(), nil
}

// plainReader hides the reader's WriteTo, which would read in chunks of its own instead of into the buffer.
type plainReader struct{ io.Reader }

// Stat asks for the object's head.
func (b *Bucket) Stat(ctx context.Context, name string) (blob.Info, error) {
	err := b.begin(ctx, name)
	if err == nil {
		var a *gocloud.Attributes
		if a, err = b.inner.Attributes(b.context(ctx), b.prefix+name); err == nil {
			return blob.Info{Name: name, Size: a.Size, ModTime: a.ModTime.UTC()}, nil
		}
	}
	return blob.Info{}, b.fail(ctx, "stat", name, err)
}

// Delete removes the object.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	err := b.begin(ctx, name)
	if err == nil {
		err = b.remove(b.context(ctx), b.prefix+name)
	}
	if err == nil {
		return nil
	}
	if err = b.fail(ctx, "delete", name, err); errors.Is(err, blob.ErrNotFound) {
		return nil
	}
	return err
}

// Close ends the connections. A named bucket in memory keeps its objects.
func (b *Bucket) Close() error {
	if b.closed.Swap(true) || b.shared {
		return nil
	}
	return b.inner.Close()
}
