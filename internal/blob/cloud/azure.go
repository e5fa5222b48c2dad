package cloud

import (
	"bytes"
	"context"
	"crypto/md5"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	azure "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	gocloud "gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // the scheme azblob
)

// azureClient writes. gocloud's own writer (0.47.0) ends the process with a nil pointer when an upload fails, and stores
// the MD5 of the data without having the service check it.
type azureClient struct{ client *container.Client }

func openAzure(ctx context.Context, u *url.URL) (*gocloud.Bucket, putFunc, removeFunc, error) {
	inner, err := gocloud.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, nil, nil, err
	}
	var c azureClient
	if !inner.As(&c.client) {
		return nil, nil, nil, errHidden
	}
	return inner, c.put, inner.Delete, nil
}

// put uploads data, checked on arrival. The caller's context switches repetitions off.
func (c azureClient) put(ctx context.Context, key string, data []byte, ifAbsent bool) error {
	sum := md5.Sum(data)
	o := &blockblob.UploadOptions{
		HTTPHeaders:             &azure.HTTPHeaders{BlobContentType: to.Ptr(contentType), BlobContentMD5: sum[:]},
		TransactionalValidation: azure.TransferValidationTypeMD5(sum[:]),
	}
	if ifAbsent {
		o.AccessConditions = &azure.AccessConditions{
			ModifiedAccessConditions: &azure.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)},
		}
	}
	_, err := c.client.NewBlockBlobClient(key).Upload(ctx, streaming.NopCloser(bytes.NewReader(data)), o)
	return err
}
