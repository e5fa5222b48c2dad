package cloud

import (
	"context"
	"errors"
	"net/http"

	"cloud.google.com/go/storage"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// Guards asks the service how the bucket is set up. What it does not tell, or not to these credentials, stays nil; a store
// works without that right.
func (b *Bucket) Guards(ctx context.Context) (blob.Guards, error) {
	if b.closed.Load() {
		return blob.Guards{}, b.fail(ctx, "open", "", errors.New("the store is closed"))
	}
	if b.guards == nil {
		return blob.Guards{}, nil
	}
	g, err := b.guards(b.context(ctx))
	if err != nil {
		return blob.Guards{}, b.fail(ctx, "open", "", err)
	}
	return g, nil
}

// untold tells whether an answer means that the question may not, or cannot, be asked there.
func untold(err error) bool {
	switch httpStatus(err) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	}
	return false
}

func (c *s3Client) guards(ctx context.Context) (blob.Guards, error) {
	var g blob.Guards
	v, err := c.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &c.bucket})
	switch {
	case err == nil:
		g.Versioning = new(v.Status == types.BucketVersioningStatusEnabled)
	case !untold(err):
		return g, err
	}
	l, err := c.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &c.bucket})
	switch {
	case err == nil:
		g.ObjectLock = new(l.ObjectLockConfiguration != nil && l.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled)
	case errorCode(err) == "ObjectLockConfigurationNotFoundError":
		g.ObjectLock = new(false)
	case !untold(err):
		return g, err
	}
	return g, nil
}

func googleGuards(ctx context.Context, bucket *storage.BucketHandle) (blob.Guards, error) {
	a, err := bucket.Attrs(ctx)
	switch {
	case err == nil:
		return blob.Guards{
			Versioning: new(a.VersioningEnabled),
			ObjectLock: new(a.ObjectRetentionMode == "Enabled" || a.RetentionPolicy != nil),
		}, nil
	case untold(err):
		return blob.Guards{}, nil
	}
	return blob.Guards{}, err
}

// guards knows versioning only where it is the container's own: otherwise it is a setting of the account, which the
// storage service does not tell.
func (c azureClient) guards(ctx context.Context) (blob.Guards, error) {
	p, err := c.client.GetProperties(ctx, nil)
	switch {
	case err == nil:
	case untold(err):
		return blob.Guards{}, nil
	default:
		return blob.Guards{}, err
	}
	var g blob.Guards
	versions := p.IsImmutableStorageWithVersioningEnabled != nil && *p.IsImmutableStorageWithVersioningEnabled
	if versions {
		g.Versioning = new(true)
	}
	if p.HasImmutabilityPolicy != nil {
		g.ObjectLock = new(versions || *p.HasImmutabilityPolicy)
	}
	return g, nil
}
