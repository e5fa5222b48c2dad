package connect_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/test/faultproxy"
	"github.com/holdfast-io/holdfast/test/s3server"
)

func TestFileURLs(t *testing.T) {
	top := t.TempDir()
	base := filepath.Join(top, "config")
	for _, folder := range []string{"config/rel/er", "beside", "with space#?"} {
		if err := os.MkdirAll(filepath.Join(top, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]string{ // URL → folder below top
		"file://" + top + "/beside":             "beside",
		"file://" + top + "/beside/":            "beside",
		"file://" + top + "/with%20space%23%3F": "with space#?",
		"file://./rel":                          "config/rel",
		"file://./rel/er":                       "config/rel/er",
		"file://.":                              "config",
		"file://../beside":                      "beside",
		"FILE://../beside":                      "beside",
	}
	for raw, folder := range cases {
		b, err := connect.Open(t.Context(), raw, connect.Options{Base: base})
		if err != nil {
			t.Errorf("open: %v", err)
			continue
		}
		if err := b.Put(t.Context(), "probe", []byte(raw)); err != nil {
			t.Errorf("put: %v", err)
		}
		got, err := os.ReadFile(filepath.Join(top, folder, "probe"))
		if err != nil || string(got) != raw {
			t.Errorf("%s is not the folder %s: %v", raw, folder, err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestRelativeToTheWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	b, err := connect.Open(t.Context(), "file://./here", connect.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	t.Chdir(t.TempDir()) // a bucket stays where it was opened
	if err := b.Put(t.Context(), "x", nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("here"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the bucket moved with the working directory: %v", err)
	}
}

func TestAbsentFolder(t *testing.T) {
	base := t.TempDir()
	for _, o := range []connect.Options{{Base: base}, {Base: base, ReadOnly: true}, {Base: base, ReadOnly: true, Create: true}} {
		b, err := connect.Open(t.Context(), "file://./absent", o)
		if b != nil || !errors.Is(err, blob.ErrNotFound) || !strings.Contains(err.Error(), filepath.Join(base, "absent")) {
			t.Errorf("%+v: %v, %v; want ErrNotFound that names the folder", o, b, err)
		}
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) != 0 {
		t.Errorf("something was made: %v, %v", entries, err)
	}
}

func TestReadOnly(t *testing.T) {
	base := t.TempDir()
	b, err := connect.Open(t.Context(), "file://.", connect.Options{Base: base, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Put(t.Context(), "x", nil); !errors.Is(err, blob.ErrReadOnly) {
		t.Errorf("put: %v, want ErrReadOnly", err)
	}
	if entries, err := os.ReadDir(base); err != nil || len(entries) != 0 {
		t.Errorf("something was written: %v, %v", entries, err)
	}
}

func TestMemoryIsShared(t *testing.T) {
	open := func(raw string) blob.Bucket {
		t.Helper()
		b, err := connect.Open(t.Context(), raw, connect.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := open("mem://connect-test/below/here")
	if err := first.Put(t.Context(), "x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open("mem://connect-test")
	if got, err := second.Get(t.Context(), "below/here/x"); err != nil || string(got) != "x" {
		t.Errorf("a second open sees %q, %v", got, err)
	}
	if _, err := open("mem://other").Get(t.Context(), "below/here/x"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("another name sees the object: %v", err)
	}
	private := open("mem://")
	if err := private.Put(t.Context(), "x", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := open("mem://").Get(t.Context(), "x"); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("a bucket without a name is shared: %v", err)
	}
}

func TestBadURLs(t *testing.T) {
	cases := map[string]string{
		"":                       `store URL has no scheme; known are file, s3, gs, azblob, mem`,
		"/srv/backup":            `store URL "/srv/backup" has no scheme; did you mean "file:///srv/backup"`,
		"./backup":               `store URL "./backup" has no scheme; did you mean "file://./backup"`,
		"../backup":              `store URL "../backup" has no scheme; did you mean "file://../backup"`,
		"backup":                 `store URL "backup" has no scheme; did you mean "file://./backup"`,
		"file:/srv/backup":       `store URL "file:/srv/backup": did you mean "file:///srv/backup"`,
		"file:backup":            `store URL "file:backup": did you mean "file://./backup"`,
		"file://":                `store URL "file:" names no folder`,
		"file://srv/backup":      `store URL "file://srv/backup" names a host; did you mean "file:///srv/backup" or "file://./srv/backup"`,
		"file://~/backup":        `store URL "file://~/backup": ~ is not expanded; write the whole path, as in file:///home/…`,
		"file:///srv?x=1":        `store URL "file:///srv?x=1": a file URL has no parameters; write ? as %3F and # as %23 in a folder's name`,
		"s4://bucket":            `store URL "s4://bucket": unknown scheme "s4"; did you mean "s3"`,
		"flie:///srv":            `store URL "flie:///srv": unknown scheme "flie"; known are file, s3, gs, azblob, mem`,
		"filr:///srv":            `store URL "filr:///srv": unknown scheme "filr"; did you mean "file"`,
		"gcs://bucket":           `store URL "gcs://bucket": unknown scheme "gcs"; did you mean "gs"`,
		"azure://x":              `store URL "azure://x": unknown scheme "azure"; did you mean "azblob"`,
		"sftp://host/x":          `store URL "sftp://host/x": unknown scheme "sftp"; known are file, s3, gs, azblob, mem`,
		"s3://":                  `open store s3:: the URL names no bucket`,
		"s3://b/a//b":            `open store s3://b/a//b: the path cannot be a prefix of objects: object name "a//b": it has an empty segment`,
		"s3://b?prefix=x":        `open store s3://b: the parameter "prefix" is not supported; write the prefix as the path: s3://b/…`,
		"s3://me:hunter2@bucket": `store URL "s3://me:xxxxx@bucket" holds credentials; URLs are shown and stored, so give credentials by the environment (docs/stores.md)`,
		"s3://me:hunter2@b%zz":   `store URL (s3:…): invalid URL escape "%zz"`,
	}
	got := map[string]string{}
	for raw := range cases {
		b, err := connect.Open(t.Context(), raw, connect.Options{Base: "/nowhere"})
		if err == nil || b != nil {
			t.Errorf("%q: opened", raw)
			continue
		}
		got[raw] = err.Error()
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error holds the secret", raw)
		}
	}
	if diff := cmp.Diff(cases, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

func TestMaxRate(t *testing.T) {
	b, err := connect.Open(t.Context(), "file://.", connect.Options{Base: t.TempDir(), MaxRate: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	begin := time.Now()
	if err := b.Put(t.Context(), "x", make([]byte, 400<<10)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 250*time.Millisecond {
		t.Errorf("400 KiB at 1 MiB a second took %v", took)
	}
}

// A service that is overloaded while its store is opened is asked again.
func TestOpenTriesAgain(t *testing.T) {
	s := s3server.Start(t)
	proxy := faultproxy.Start(t, s.Endpoint)
	fault := faultproxy.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown", Times: 4} // the vendor's client asks three times
	proxy.Set(fault)
	b, err := connect.Open(t.Context(), s.Through(s.URL, proxy.URL), connect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	proxy.CheckStruck(t)
}
