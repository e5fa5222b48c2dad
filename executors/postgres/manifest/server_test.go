package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

func run(t *testing.T, s *pgserver.Server, name string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(s.BinDir, name), args...)
	cmd.Env = []string{"PGPASSWORD=" + s.Password(), "LC_ALL=C.UTF-8", "TZ=UTC"}
	return cmd.CombinedOutput()
}

// TestAgainstBaseBackup reads the manifests of real base backups: every file is what they say, a changed one is noticed where
// pg_verifybackup notices it, and the files are those that the data directory has after what pgdata excludes.
func TestAgainstBaseBackup(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	for _, sql := range []string{
		"create table t(v text); insert into t select md5(g::text) from generate_series(1, 5000) g",
		"create unlogged table u(v text primary key); insert into u select md5(g::text) from generate_series(1, 5000) g", "vacuum u",
		fmt.Sprintf(`copy (select 1) to program $$touch '%s/nicht UTF-8: '$(printf '\344')$$`, s.Data), "checkpoint",
	} {
		if err := s.Exec(t.Context(), "postgres", sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for _, alg := range []Algorithm{None, CRC32C, SHA224, SHA256, SHA384, SHA512} {
		t.Run(string(alg), func(t *testing.T) { backUp(t, s, alg) })
	}
}

func backUp(t *testing.T, s *pgserver.Server, alg Algorithm) {
	dir := filepath.Join(t.TempDir(), "b")
	if out, err := run(t, s, "pg_basebackup", "-h", "127.0.0.1", "-p", fmt.Sprint(s.Port), "-U", pgserver.User, "-D", dir, "-c", "fast",
		"-X", "none", "--manifest-checksums="+string(alg)); err != nil {
		t.Fatalf("pg_basebackup: %v: %s", err, out)
	}
	content, err := os.ReadFile(filepath.Join(dir, Name))
	if err != nil {
		t.Fatal(err)
	}
	var files []File
	m, err := Read(bytes.NewReader(content), func(f File) error { files = append(files, f); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if m.Version != 1 || len(m.Ranges) != 1 || m.Ranges[0].Timeline != 1 || m.Ranges[0].End <= m.Ranges[0].Start || m.Files != len(files) {
		t.Errorf("manifest: %+v", m)
	}
	got := []string{}
	for _, f := range files {
		if f.Algorithm != alg {
			t.Fatalf("%s has %s", f.Path, f.Algorithm)
		}
		if err := verify(dir, f); err != nil {
			t.Errorf("a good backup: %v", err)
		}
		if f.Path != pgdata.LabelName {
			got = append(got, f.Path)
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(expected(t, s.Data), got); diff != "" {
		t.Errorf("files of a backup (-data directory without what is excluded +manifest):\n%s", diff)
	}
	damage(t, s, dir, files)
}

func verify(dir string, f File) error {
	in, err := os.Open(filepath.Join(dir, f.Path))
	if err != nil {
		return err
	}
	defer in.Close()
	return f.Verify(in)
}

// damage changes a file and asks both.
func damage(t *testing.T, s *pgserver.Server, dir string, files []File) {
	if out, err := run(t, s, "pg_verifybackup", "-n", dir); err != nil {
		t.Fatalf("pg_verifybackup: %v: %s", err, out)
	}
	i := slices.IndexFunc(files, func(f File) bool { return f.Path == "base/1/1259" })
	name := filepath.Join(dir, files[i].Path)
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[5000] ^= 1
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, theirs := run(t, s, "pg_verifybackup", "-n", dir)
	if ours := verify(dir, files[i]); (ours == nil) != (theirs == nil) {
		t.Errorf("a changed file: %v, pg_verifybackup: %v", ours, theirs)
	}
	if err := os.WriteFile(name, content[:8192], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verify(dir, files[i]); err == nil {
		t.Error("a shortened file passes")
	}
}

// expected are the files of a data directory that a base backup takes.
func expected(t *testing.T, root string) []string {
	t.Helper()
	folders := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, name)
		if err != nil || d.IsDir() {
			return err
		}
		if rel = filepath.ToSlash(rel); !pgdata.Excluded(rel) {
			folders[path.Dir(rel)] = append(folders[path.Dir(rel)], path.Base(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for folder, names := range folders {
		unlogged := pgdata.FindUnlogged(names)
		for _, name := range names {
			p := path.Join(folder, name)
			if f, ok := pgdata.ParseRelFile(p); ok && unlogged.Excludes(f) {
				continue
			}
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// TestEveryByteCounts changes each byte of a small manifest: it is no longer read.
func TestEveryByteCounts(t *testing.T) {
	good := []byte(sample2)
	if _, err := Read(bytes.NewReader(good), discard); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x01
		if i >= len(good)-3 { // the last quotation mark, brace and line end are not hashed by PostgreSQL either
			continue
		}
		if _, err := Read(bytes.NewReader(bad), discard); err == nil {
			t.Errorf("byte %d may be %q as well as %q", i, bad[i], good[i])
		}
		if _, err := Read(bytes.NewReader(good[:i]), discard); err == nil {
			t.Errorf("cut at %d, it is read", i)
		}
	}
}

func discard(File) error { return nil }

func TestEachStopsRead(t *testing.T) {
	enough := errors.New("enough")
	if _, err := Read(bytes.NewReader([]byte(sample2)), func(File) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Read = %v, want the callback's error", err)
	}
}
