// Package s3server starts a real S3-compatible server, versitygw, for tests, demonstrations and benchmarks.
//
// It is not a fake: requests are signed, checked and carried out by a program that was written by others, over the
// network, on files in a folder of its own. Its invariant: no test is skipped for want of a server. The program is built
// from source, with its version pinned in tools/versitygw, when it was never built here; that takes one to two minutes.
package s3server

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-io/holdfast/test/toolserver"
)

// The credentials of every server; they guard nothing.
const (
	AccessKey = "holdfast-test"
	SecretKey = "holdfast-test-secret"
	region    = "us-east-1"
)

// Server is a running server.
type Server struct {
	// URL is a store on a bucket of its own, as a policy would write it: s3://bucket?endpoint=…
	URL string
	// Endpoint is the address of the server: http://127.0.0.1:port.
	Endpoint string

	root string
	mu   sync.Mutex
	made int
}

// Env returns the credentials as environment variables, "NAME=value".
func (s *Server) Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + AccessKey, "AWS_SECRET_ACCESS_KEY=" + SecretKey, "AWS_REGION=" + region}
}

// NewBucket makes an empty bucket and returns its URL.
func (s *Server) NewBucket() (string, error) {
	name := s.nextName()
	// The server's posix backend has a folder for each bucket.
	if err := os.Mkdir(filepath.Join(s.root, name), 0o700); err != nil {
		return "", fmt.Errorf("make bucket: %w", err)
	}
	return s.url(name), nil
}

// NewGuardedBucket makes an empty bucket with versioning, and with object lock if the caller wants that: every version
// then stays for a day.
func (s *Server) NewGuardedBucket(ctx context.Context, lock bool) (string, error) {
	name, client := s.nextName(), s.Client()
	in := &s3.CreateBucketInput{Bucket: &name}
	if lock {
		in.ObjectLockEnabledForBucket = aws.Bool(true)
	}
	if _, err := client.CreateBucket(ctx, in); err != nil {
		return "", fmt.Errorf("make bucket: %w", err)
	}
	if _, err := client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	}); err != nil {
		return "", fmt.Errorf("switch on versioning: %w", err)
	}
	if !lock {
		return s.url(name), nil
	}
	_, err := client.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{
		Bucket: &name,
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1)}},
		},
	})
	if err != nil {
		return "", fmt.Errorf("switch on object lock: %w", err)
	}
	return s.url(name), nil
}

// Client is the vendor's client, for what a test asks the server beside holdfast.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}, nil
		}),
	})
}

func (s *Server) nextName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
	return fmt.Sprintf("bucket-%d", s.made)
}

func (s *Server) url(bucket string) string {
	q := url.Values{"endpoint": {s.Endpoint}, "region": {region}, "use_path_style": {"true"}}
	return "s3://" + bucket + "?" + q.Encode()
}

// Below returns the URL of a store under a prefix of another's bucket.
func Below(storeURL, prefix string) string {
	return strings.Replace(storeURL, "?", "/"+prefix+"?", 1)
}

// BucketOf returns the name of the bucket of a store URL.
func BucketOf(storeURL string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(storeURL, "s3://"), "?")
	return name
}

// Through returns the URL of the same store behind another address of the server, such as that of a proxy.
func (s *Server) Through(storeURL, endpoint string) string {
	return strings.Replace(storeURL, url.QueryEscape(s.Endpoint), url.QueryEscape(endpoint), 1)
}

// Start runs a server for the length of the test and sets the credentials in its environment, so the test cannot be
// parallel. Nothing is shared with other tests.
func Start(t testing.TB) *Server {
	t.Helper()
	s, stop, err := Run(t.TempDir())
	if err != nil {
		t.Fatalf("start S3 server: %v", err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop S3 server: %v", err)
		}
	})
	t.Setenv("AWS_ACCESS_KEY_ID", AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", SecretKey)
	t.Setenv("AWS_REGION", region)
	return s
}

// Run runs a server on the folder dir until stop is called. The caller hands Env to whatever talks to the server, and
// removes the folder.
func Run(dir string) (s *Server, stop func() error, err error) {
	bin, err := toolserver.Go(context.Background(), "versitygw", "github.com/versity/versitygw/cmd/versitygw")
	if err != nil {
		return nil, nil, err
	}
	root, versions := filepath.Join(dir, "buckets"), filepath.Join(dir, "versions")
	for _, folder := range []string{root, versions} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, nil, err
		}
	}
	endpoint, stop, err := toolserver.Run(func(host, port string) *exec.Cmd {
		// #nosec: all arguments are ours
		return exec.Command(bin, "--access", AccessKey, "--secret", SecretKey, "--region", region, "--port", host+":"+port,
			"--health", "/health", "--quiet", "posix", "--versioning-dir", versions, root)
	}, "/health")
	if err != nil {
		return nil, nil, err
	}
	s = &Server{Endpoint: endpoint, root: root}
	if s.URL, err = s.NewBucket(); err != nil {
		_ = stop()
		return nil, nil, err
	}
	return s, stop, nil
}
