// Package connect turns the URL of a store into a bucket: the driver for its scheme, a limit of its rate where one is asked
// for, retries, and, for those who only look, the wrapper that cannot write.
//
// It is not a registry: the drivers are named here, and nothing is registered by imports. Errors never repeat a secret
// that somebody wrote into a URL.
package connect

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
	"github.com/holdfast-io/holdfast/internal/blob/dir"
	"github.com/holdfast-io/holdfast/internal/blob/readonly"
	"github.com/holdfast-io/holdfast/internal/blob/retry"
	"github.com/holdfast-io/holdfast/internal/blob/throttle"
)

// Options says how a store is opened.
type Options struct {
	// ReadOnly gives a bucket that refuses every write with blob.ErrReadOnly.
	ReadOnly bool
	// Base is the folder that relative file URLs start from: the one of the configuration. Empty is the working directory.
	Base string
	// Create makes the folder of a file URL when it is absent. Buckets in a cloud are never made. Ignored with ReadOnly.
	Create bool
	// MaxRate limits the bytes per second to and from the store, together. 0 is no limit.
	MaxRate int64
}

// Open opens the store at rawURL. docs/stores.md lists the forms. An absent folder or bucket is blob.ErrNotFound; what is
// wrong with a URL is said with the form that was probably meant.
func Open(ctx context.Context, rawURL string, o Options) (blob.Bucket, error) {
	u, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	b, err := retry.Open(ctx, func() (blob.Bucket, error) { return openOnce(ctx, u, o) })
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return readonly.New(b), nil
	}
	return b, nil
}

func openOnce(ctx context.Context, u *url.URL, o Options) (b blob.Bucket, err error) {
	if u.Scheme == "file" {
		b, err = openFolder(u, o)
	} else {
		b, err = cloud.Open(ctx, u)
	}
	if err == nil && o.MaxRate > 0 {
		b = throttle.New(b, o.MaxRate) // inside of retry: what is sent again counts again
	}
	return b, err
}

func openFolder(u *url.URL, o Options) (blob.Bucket, error) {
	path, err := folder(u, o.Base)
	if err != nil {
		return nil, err
	}
	b, err := dir.Open(path, dir.Options{Create: o.Create && !o.ReadOnly})
	if err != nil {
		return nil, err // not a nil *dir.Bucket in an interface
	}
	return b, nil
}

// folder returns the path of a file URL. The host is where a relative path begins ("." or ".."); any other host is a
// mistake that would otherwise quietly become another folder.
func folder(u *url.URL, base string) (string, error) {
	switch {
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("store URL %q: a file URL has no parameters; write ? as %%3F and # as %%23 in a folder's name", u.Redacted())
	case u.Opaque != "":
		return "", fmt.Errorf("store URL %q: did you mean %q", u.Redacted(), "file://./"+strings.TrimPrefix(u.Opaque, "./"))
	case u.Host == "~":
		return "", fmt.Errorf("store URL %q: ~ is not expanded; write the whole path, as in file:///home/…", u.Redacted())
	case u.Host == "" && u.Path == "":
		return "", fmt.Errorf("store URL %q names no folder", u.Redacted())
	case u.Host == "" && !strings.HasPrefix(u.String(), "file:///"):
		return "", fmt.Errorf("store URL %q: did you mean %q", u.Redacted(), "file://"+u.EscapedPath())
	case u.Host == "":
		return filepath.FromSlash(u.Path), nil
	case u.Host == "." || u.Host == "..":
		return filepath.Join(base, u.Host, filepath.FromSlash(u.Path)), nil
	}
	rest := u.Host + u.EscapedPath()
	return "", fmt.Errorf("store URL %q names a host; did you mean %q or %q", u.Redacted(), "file:///"+rest, "file://./"+rest)
}

// parse checks what all stores have in common.
func parse(raw string) (*url.URL, error) {
	scheme, _, found := strings.Cut(raw, ":")
	if !found || strings.ContainsAny(scheme, "/.") {
		return nil, noScheme(raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// The text of a URL that cannot be parsed may hold a password; url.Error would print it.
		var cause error = err
		if ue, ok := err.(*url.Error); ok {
			cause = ue.Err
		}
		return nil, fmt.Errorf("store URL (%s:…): %w", scheme, cause)
	}
	if u.User != nil {
		return nil, fmt.Errorf("store URL %q holds credentials; URLs are shown and stored, so give credentials by the environment (docs/stores.md)", u.Redacted())
	}
	for _, known := range schemes() {
		if u.Scheme == known {
			return u, nil
		}
	}
	return nil, fmt.Errorf("store URL %q: unknown scheme %q%s", u.Redacted(), u.Scheme, suggest(u.Scheme))
}

func schemes() []string { return append([]string{"file"}, cloud.Schemes...) }

func noScheme(raw string) error {
	if strings.HasPrefix(raw, "/") {
		return fmt.Errorf("store URL %q has no scheme; did you mean %q", raw, "file://"+raw)
	}
	rel := strings.TrimPrefix(raw, "./")
	if rel == "" || strings.ContainsAny(raw, "@?") {
		return fmt.Errorf("store URL has no scheme; known are %s", strings.Join(schemes(), ", "))
	}
	if strings.HasPrefix(raw, "../") {
		return fmt.Errorf("store URL %q has no scheme; did you mean %q", raw, "file://"+raw)
	}
	return fmt.Errorf("store URL %q has no scheme; did you mean %q", raw, "file://./"+rel)
}

// otherNames are what the same places are called elsewhere, too far from our names for a spelling check.
var otherNames = map[string]string{
	"dir": "file", "folder": "file", "local": "file", "path": "file",
	"aws": "s3", "minio": "s3", "s3a": "s3", "s3n": "s3", "https": "s3", "http": "s3",
	"gcs": "gs", "google": "gs", "googlestorage": "gs",
	"az": "azblob", "azure": "azblob", "abfs": "azblob", "abfss": "azblob", "wasb": "azblob", "wasbs": "azblob",
	"memory": "mem",
}

func suggest(scheme string) string {
	if known := otherNames[scheme]; known != "" {
		return fmt.Sprintf("; did you mean %q", known)
	}
	for _, known := range schemes() {
		if levenshtein.Distance(scheme, known, nil) <= max(1, len(known)/3) {
			return fmt.Sprintf("; did you mean %q", known)
		}
	}
	return "; known are " + strings.Join(schemes(), ", ")
}
