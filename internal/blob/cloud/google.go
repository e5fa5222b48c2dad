package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"

	"cloud.google.com/go/storage"
	gocloud "gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcp"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// errHidden says that gocloud no longer lends out the vendor's client; only a new version of it could do that.
var errHidden = errors.New("the driver hides its client")

// openGoogle does what gocloud's opener for the scheme does, except that it finds credentials anew for each store, does not
// look for ways of signing URLs, and returns as an error what the opener prints to the standard output.
func (b *Bucket) openGoogle(ctx context.Context, u *url.URL) error {
	opener := gcsblob.URLOpener{Client: gcp.NewAnonymousHTTPClient(boundedTransport())}
	anonymous, _ := strconv.ParseBool(u.Query().Get("anonymous"))
	if os.Getenv("STORAGE_EMULATOR_HOST") != "" {
		// gocloud would take Go's default client.
		opener.Options.ClientOptions = []option.ClientOption{option.WithHTTPClient(&opener.Client.Client)}
	} else if !anonymous {
		if err := findGoogle(ctx, &opener, u.Query().Get("universe_domain")); err != nil {
			return err
		}
	}
	inner, err := opener.OpenBucketURL(ctx, u)
	if err != nil {
		return err
	}
	var client *storage.Client
	if !inner.As(&client) {
		return errHidden
	}
	// By default it repeats for as long as the context lives, conditional writes as well.
	client.SetRetry(storage.WithPolicy(storage.RetryNever))
	b.inner, b.put, b.remove = inner, putWith(inner), inner.Delete
	b.guards = func(ctx context.Context) (blob.Guards, error) { return googleGuards(ctx, client.Bucket(u.Host)) }
	return nil
}

// findGoogle gives the opener the application default credentials.
func findGoogle(ctx context.Context, opener *gcsblob.URLOpener, universe string) error {
	creds, err := gcp.DefaultCredentialsWithParams(ctx, google.CredentialsParams{UniverseDomain: universe})
	if err != nil {
		return err
	}
	if universe, err = creds.GetUniverseDomain(); err != nil {
		return err
	}
	opener.Options.ClientOptions = []option.ClientOption{option.WithUniverseDomain(universe)}
	opener.TokenSource = gcp.CredentialsTokenSource(creds)
	opener.Client, err = gcp.NewHTTPClient(boundedTransport(), opener.TokenSource)
	return err
}

// resumes is how often Google's client may take up one broken download again. It would do so for ever, also where nothing
// moves any more; after these it is for internal/blob/retry, which waits in between.
const resumes = 3

type resumeKey struct{}

// countResumes makes a context whose requests are one download and its resumptions.
func countResumes(ctx context.Context) context.Context {
	return context.WithValue(ctx, resumeKey{}, new(atomic.Int32))
}

// limitResumes refuses what is too much for the counter in a request's context.
type limitResumes struct{ http.RoundTripper }

func (l limitResumes) RoundTrip(r *http.Request) (*http.Response, error) {
	if n, ok := r.Context().Value(resumeKey{}).(*atomic.Int32); ok && n.Add(1) > 1+resumes {
		return nil, fmt.Errorf("the download broke %d times: %w", 1+resumes, io.ErrUnexpectedEOF)
	}
	return l.RoundTripper.RoundTrip(r)
}

func boundedTransport() http.RoundTripper { return limitResumes{gcp.DefaultTransport()} }

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
