// Package compat reads what earlier versions of holdfast wrote: stores, states and keys as the real binary made them, frozen
// under testdata. Whatever changes, they must be listed, proven, restored and gone on with.
//
// A new one is made, and an old one never changed, by
//
//	go test ./test/compat -run TestMake -make=store-v2
package compat

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/test/hfbin"
)

var makeName = flag.String("make", "", "freeze what this version writes as testdata/`NAME`.tar.gz, which must not exist")

func TestMain(m *testing.M) { hfbin.Main(m) }

// The frozen folders: the policy, its key and state, two stores, the data as it was at each point, and the names of the
// points in the order they were made.
const (
	expected   = "expected"
	pointsFile = "expected/points"
)

const policyText = `
store "primary" {
  url = "file://./primary"
  encryption {
    recipients = ["%s"]
    writers    = ["%s"]
  }
}

store "offsite" {
  url = "file://./offsite"
  encryption {
    recipients = ["%s"]
    writers    = ["%s"]
  }
}

source "files" "docs" {
  root = "data"
}

retention "all" {
  last = 1000
}

backup "docs" {
  source    = source.files.docs
  store     = store.primary
  copies    = [store.offsite]
  retention = retention.all
  schedule { every = "1h" }
  verify { after = "read" }
}
`

// TestMake freezes a new fixture.
func TestMake(t *testing.T) {
	if *makeName == "" {
		t.Skip("-make=NAME makes one")
	}
	path := filepath.Join("testdata", *makeName+".tar.gz")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s exists, and a frozen store is never made again (%v)", path, err)
	}
	s := hfbin.New(t)
	var host struct{ Recipient string }
	s.JSON(&host, "key", "generate", "-out=host.key", "-json")
	s.Write("main.hf.hcl", fmt.Sprintf(policyText, s.Recipient, host.Recipient, s.Recipient, host.Recipient))
	s.Must("init")
	var names []string
	for i := range 3 {
		fill(t, s, i)
		args := []string{"apply", "-auto-approve", "-force=backup.docs"}
		if i == 0 {
			args = args[:2] // it is due
		}
		s.Must(args...)
		for _, p := range s.Points() {
			if !slices.Contains(names, p.ID) {
				names = append(names, p.ID)
				keep(t, s, p.ID)
			}
		}
	}
	if len(names) != 3 {
		t.Fatalf("%d points were made", len(names))
	}
	s.Must("hold", names[1], "-reason=frozen")
	s.Write(pointsFile, strings.Join(names, "\n")+"\n")
	if err := os.RemoveAll(filepath.Join(s.Dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(s.Dir, "data"), os.DirFS(filepath.Join(s.Dir, expected, names[2]))); err != nil {
		t.Fatal(err)
	}
	pack(t, s.Dir, path)
}

// fill writes the data of the n-th point.
func fill(t *testing.T, s *hfbin.Site, n int) {
	t.Helper()
	s.Write("data/etc/app.conf", strings.Repeat(fmt.Sprintf("setting = %d\n", n), 50))
	s.Write("data/größe und ünïcode.txt", "ä")
	s.Write("data/empty", "")
	s.Write("data/same.bin", noise(1, 300_000))
	s.Write(fmt.Sprintf("data/new/%d.bin", n), noise(uint64(10+n), 60_000))
	s.Write("data/grows.log", strings.Repeat("a line of a log that compresses\n", 2000*(n+1)))
}

// noise returns n bytes that do not compress.
func noise(seed uint64, n int) string {
	out := make([]byte, n)
	for i := range out {
		seed ^= seed << 13
		seed ^= seed >> 7
		seed ^= seed << 17
		out[i] = byte(seed >> 32)
	}
	return string(out)
}

func keep(t *testing.T, s *hfbin.Site, id string) {
	t.Helper()
	if err := os.CopyFS(filepath.Join(s.Dir, expected, id), os.DirFS(filepath.Join(s.Dir, "data"))); err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, dir, path string) {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err = errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(out.Bytes())
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// thaw makes a site of a frozen one.
func thaw(t *testing.T, path string) (s *hfbin.Site, points []string) {
	t.Helper()
	s = hfbin.New(t)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !filepath.IsLocal(h.Name) {
			t.Fatalf("%s holds %s", path, h.Name)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		s.Write(h.Name, string(data))
	}
	list, err := os.ReadFile(filepath.Join(s.Dir, pointsFile))
	if err != nil {
		t.Fatal(err)
	}
	return s, strings.Fields(string(list))
}

func frozen(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.tar.gz")
	if err != nil || len(all) == 0 {
		t.Fatalf("there is nothing frozen (%v)", err)
	}
	return all
}

// TestFrozen lists, checks, verifies and restores every point of every frozen store, and goes on with it.
func TestFrozen(t *testing.T) {
	for _, path := range frozen(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, points := thaw(t, path)
			var listed []string
			for _, p := range s.Points() {
				listed = append(listed, p.ID)
			}
			slices.Sort(listed)
			if want := slices.Sorted(slices.Values(points)); !slices.Equal(listed, want) {
				t.Fatalf("points %v, want %v", listed, want)
			}
			for _, store := range []string{"store.primary", "store.offsite"} {
				s.Prints(s.Must("check", store, "-deep"), fmt.Sprintf("%d restore points", len(points)), "0 errors")
			}
			s.Must("verify", "-level=read")
			s.Must("verify", "-level=stored")
			restores(t, s, points)
			s.Write("data/after the thaw", "x")
			s.Must("apply", "-auto-approve", "-force=backup.docs")
			if now := len(s.Points()); now != len(points)+1 {
				t.Errorf("%d points after a backup on top of %d", now, len(points))
			}
			s.Prints(s.Must("plan"), "No changes")
			s.Must("verify", "-level=read")
			restores(t, s, points)
		})
	}
}

// TestFrozenStoreAlone rebuilds policy and catalog from the store and the key.
func TestFrozenStoreAlone(t *testing.T) {
	for _, path := range frozen(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, points := thaw(t, path)
			if err := errors.Join(os.RemoveAll(filepath.Join(s.Dir, ".holdfast")), os.Remove(filepath.Join(s.Dir, "main.hf.hcl"))); err != nil {
				t.Fatal(err)
			}
			s.Prints(s.Must("bootstrap", "file://./primary"), fmt.Sprintf("%d restore points", len(points)))
			restores(t, s, points)
		})
	}
}

func restores(t *testing.T, s *hfbin.Site, points []string) {
	t.Helper()
	for _, id := range points {
		back := filepath.Join(t.TempDir(), "back")
		s.Must("restore", "backup.docs", "-point="+id, "-target="+back, "-auto-approve")
		same(t, filepath.Join(s.Dir, expected, id), back)
	}
}

// same compares two trees of files both ways.
func same(t *testing.T, want, got string) {
	t.Helper()
	for _, pair := range [][2]string{{want, got}, {got, want}} {
		files := 0
		err := filepath.WalkDir(pair[0], func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			rel, err := filepath.Rel(pair[0], path)
			if err != nil {
				return err
			}
			a, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(filepath.Join(pair[1], rel))
			if err != nil {
				return err
			}
			if !bytes.Equal(a, b) {
				return fmt.Errorf("%s differs", rel)
			}
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%d files of %s compared: %v", files, pair[0], err)
		}
	}
}
