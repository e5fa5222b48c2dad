package cloud_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/cloud"
	"github.com/holdfast-io/holdfast/test/azureserver"
	"github.com/holdfast-io/holdfast/test/s3server"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func works(t *testing.T, raw string) {
	t.Helper()
	b := open(t, raw)
	if err := b.Put(t.Context(), "x", []byte("x")); err != nil {
		t.Error(err)
	}
	if got, err := b.Get(t.Context(), "x"); err != nil || string(got) != "x" {
		t.Errorf("get: %q, %v", got, err)
	}
}

func TestS3Profiles(t *testing.T) {
	s := s3server.Start(t)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", writeFile(t, "credentials",
		"[default]\naws_access_key_id = "+s3server.AccessKey+"\naws_secret_access_key = wrong\n"+
			"[backup]\naws_access_key_id = "+s3server.AccessKey+"\naws_secret_access_key = "+s3server.SecretKey+"\n"))
	if _, err := cloud.Open(t.Context(), parse(t, s.URL)); !errors.Is(err, blob.ErrDenied) {
		t.Errorf("the default profile: %v, want ErrDenied", err)
	}
	works(t, s.URL+"&profile=backup")
	t.Setenv("AWS_PROFILE", "backup")
	works(t, s.URL)
}

func TestAzureConnectionString(t *testing.T) {
	s := azureserver.Start(t)
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", s.ConnectionString())
	container, _, _ := strings.Cut(s.URL, "?")
	works(t, container)
}

func TestAzureWrongKey(t *testing.T) {
	s := azureserver.Start(t)
	t.Setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
	_, err := cloud.Open(t.Context(), parse(t, s.URL))
	if !errors.Is(err, blob.ErrDenied) || blob.IsRetryable(err) || !strings.Contains(err.Error(), "docs/stores.md") {
		t.Errorf("got %v, want a final denial that says where to look", err)
	}
}

// The signature is part of every request, so a store URL must not send it somewhere else.
func TestAzureSignatureStaysAtItsService(t *testing.T) {
	asked := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer elsewhere.Close()
	t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sv=2026&sig=hunter2")
	_, err := cloud.Open(t.Context(), parse(t, "azblob://container?protocol=http&domain="+strings.TrimPrefix(elsewhere.URL, "http://")))
	if err == nil || asked || !strings.Contains(err.Error(), "AZURE_STORAGE_SAS_TOKEN") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, asked: %v", err, asked)
	}
}

// A service account whose key was revoked is denied by the server that hands out tokens, before storage is asked. Nothing
// is printed on the way: standard output belongs to the views.
func TestGoogleRevokedKey(t *testing.T) {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`))
	}))
	defer tokens.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "backup@project.example", "token_uri": tokens.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", writeFile(t, "account.json", string(account)))
	printed := stdoutOf(t, func() { _, err = cloud.Open(t.Context(), parse(t, "gs://bucket")) })
	if !errors.Is(err, blob.ErrDenied) || blob.IsRetryable(err) || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("revoked: %v, want a final denial", err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "absent"))
	printed += stdoutOf(t, func() { _, err = cloud.Open(t.Context(), parse(t, "gs://bucket")) })
	if err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("absent file: %v", err)
	}
	if printed != "" {
		t.Errorf("printed: %s", printed)
	}
}

// stdoutOf runs f and returns what it wrote to standard output.
func stdoutOf(t *testing.T, f func()) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := os.Stdout
	os.Stdout = file
	f()
	os.Stdout = before
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
