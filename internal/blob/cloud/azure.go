package cloud

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	azure "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"
)

// azureClient writes. gocloud's own writer (0.47.0) ends the process with a nil pointer when an upload fails, and stores
// the MD5 of the data without having the service check it.
type azureClient struct{ client *container.Client }

// openAzure does what gocloud's opener for the scheme does, except that it finds credentials anew for each store, and that a
// connection string alone is enough.
func (b *Bucket) openAzure(ctx context.Context, u *url.URL) error {
	service := azureblob.NewDefaultServiceURLOptions()
	if service.SASToken != "" {
		if err := sameService(u.Query(), service); err != nil {
			return err
		}
	}
	if service.AccountName == "" {
		service.AccountName = accountIn(os.Getenv("AZURE_STORAGE_CONNECTION_STRING"))
	}
	opener := azureblob.URLOpener{MakeClient: azureblob.NewDefaultClient, ServiceURLOptions: *service}
	inner, err := opener.OpenBucketURL(ctx, u)
	if err != nil {
		return err
	}
	var c azureClient
	if !inner.As(&c.client) {
		return errHidden
	}
	b.inner, b.put, b.remove, b.guards = inner, c.put, inner.Delete, c.guards
	return nil
}

// sameService refuses store URLs that would carry the access signature, which is part of every request, to another service
// than the one it was given for.
func sameService(q url.Values, service *azureblob.ServiceURLOptions) error {
	known := map[string]string{"storage_account": service.AccountName, "domain": service.StorageDomain, "protocol": service.Protocol}
	for _, p := range []string{"storage_account", "domain", "protocol", "cdn", "localemu"} {
		if q.Has(p) && (known[p] == "" || q.Get(p) != known[p]) {
			return fmt.Errorf("the parameter %q cannot change where the service is while AZURE_STORAGE_SAS_TOKEN is set; "+
				"set AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_DOMAIN or AZURE_STORAGE_PROTOCOL beside the token instead", p)
		}
	}
	return nil
}

// accountIn returns the account that a connection string names.
func accountIn(connection string) string {
	for part := range strings.SplitSeq(connection, ";") {
		if name, value, _ := strings.Cut(part, "="); strings.EqualFold(strings.TrimSpace(name), "AccountName") {
			return strings.TrimSpace(value)
		}
	}
	return ""
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
