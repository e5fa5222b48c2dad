package replication

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/test/pgserver"
)

// restored makes a server of a base backup that is being made; settings are lines of its configuration. The backup is finished.
func restored(t *testing.T, b *Backup, settings string, signals ...string) (*pgserver.Server, []byte) {
	t.Helper()
	s := pgserver.Start(t, pgserver.Options{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.Data); err != nil {
		t.Fatal(err)
	}
	extract(t, b, s.Data)
	manifest, err := io.ReadAll(b.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	settings += fmt.Sprintf("\nport = %d\nunix_socket_directories = '%s'\n", s.Port, s.Socket)
	files := map[string]string{"postgresql.auto.conf": "listen_addresses = '127.0.0.1'\nfsync = off\nfull_page_writes = off\n" + settings}
	for _, name := range signals {
		files[name] = ""
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.Data, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := filepath.Walk(filepath.Dir(s.Data), func(p string, _ os.FileInfo, err error) error {
		own(t, s, p)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	return s, manifest
}

// extract writes the archives below dir, and tablespaces beside it.
func extract(t *testing.T, b *Backup, dir string) {
	t.Helper()
	spaces := filepath.Join(filepath.Dir(dir), "spaces")
	err := b.Walk(func(m Member, r io.Reader) error {
		to := filepath.Join(dir, m.Path)
		if m.Tablespace != 0 {
			to = filepath.Join(spaces, strings.TrimPrefix(m.Path, "pg_tblspc/"))
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		switch m.Header.Typeflag {
		case tar.TypeDir:
			return os.MkdirAll(to, 0o700)
		case tar.TypeSymlink:
			return os.Symlink(filepath.Join(spaces, filepath.Base(m.Path)), to)
		}
		f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}
