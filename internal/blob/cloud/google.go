package cloud

import (
	"context"
	"errors"
	"net/url"

	"cloud.google.com/go/storage"
	gocloud "gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob" // the scheme gs
)

// errHidden says that gocloud no longer lends out the vendor's client; only a new version of it could do that.
var errHidden = errors.New("the driver hides its client")

func openGoogle(ctx context.Context, u *url.URL) (*gocloud.Bucket, putFunc, removeFunc, error) {
	inner, err := gocloud.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, nil, nil, err
	}
	var client *storage.Client
	if !inner.As(&client) {
		return nil, nil, nil, errHidden
	}
	// By default it repeats for as long as the context lives, conditional writes as well.
	client.SetRetry(storage.WithPolicy(storage.RetryNever))
	return inner, putWith(inner), inner.Delete, nil
}

// putWith writes through gocloud, which adds the MD5 of the data; Google checks it.
func putWith(inner *gocloud.Bucket) putFunc {
	return func(ctx context.Context, key string, data []byte, ifAbsent bool) error {
		return inner.WriteAll(ctx, key, data, &gocloud.WriterOptions{
			ContentType: contentType,
			IfNotExist:  ifAbsent,
			BufferSize:  len(data) + 1, // in one piece
		})
	}
}
