package cloud

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"gocloud.dev/blob/s3blob"
)

// s3Client writes and deletes. gocloud's own writer copies the data through a pipe into several parts, with repeated
// requests that cannot be switched off; its Delete asks for the object's head first. Here each is exactly one request.
type s3Client struct {
	client *s3.Client
	bucket string
	sse    types.ServerSideEncryption
	kmsKey *string
}

func (b *Bucket) openS3(ctx context.Context, u *url.URL) error {
	inner, err := (&s3blob.URLOpener{}).OpenBucketURL(ctx, u)
	if err != nil {
		return err
	}
	c := &s3Client{bucket: u.Host}
	if !inner.As(&c.client) {
		return errHidden
	}
	// The opener has checked both and keeps them to itself.
	for _, sse := range c.sse.Values() {
		if strings.EqualFold(string(sse), u.Query().Get("ssetype")) {
			c.sse = sse
		}
	}
	if id := u.Query().Get("kmskeyid"); id != "" {
		c.kmsKey = &id
	}
	b.inner, b.put, b.remove, b.guards = inner, c.put, c.remove, c.guards
	return nil
}

// put uploads data, checked on arrival: by the client's default checksum, or by the older MD5 where the URL says that the
// service knows no other.
func (c *s3Client) put(ctx context.Context, key string, data []byte, ifAbsent bool) error {
	in := &s3.PutObjectInput{
		Bucket: &c.bucket, Key: &key,
		Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
		ContentType:          aws.String(contentType),
		ServerSideEncryption: c.sse, SSEKMSKeyId: c.kmsKey,
	}
	if c.client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenRequired {
		sum := md5.Sum(data)
		in.ContentMD5 = aws.String(base64.StdEncoding.EncodeToString(sum[:]))
	}
	if ifAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := c.client.PutObject(ctx, in, once)
	return err
}

// remove deletes; S3 says nothing about whether there was something.
func (c *s3Client) remove(ctx context.Context, key string) error {
	_, err := c.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &c.bucket, Key: &key})
	return err
}

// once keeps the client from repeating the request.
func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }
