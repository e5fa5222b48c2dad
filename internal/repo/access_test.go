package repo_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo"
)

// TestWriterCannotRead proves both halves with nothing but a writer's key: it backs up and deduplicates, and no object
// with content opens to it, whichever of the keys it can get hold of is tried.
func TestWriterCannotRead(t *testing.T) {
	reader, pq, writer := classic(t), hybrid(t), classic(t)
	for _, recipient := range []key{reader, pq} {
		b := newMemory()
		initRepo(t, b, repo.InitOptions{Recipients: []string{recipient.public}, Writers: []string{writer.public}})
		r := open(t, b, writer.id)
		if !r.CanWrite() || r.CanRead() {
			t.Fatalf("can write %v, can read %v; want true, false", r.CanWrite(), r.CanRead())
		}
		files := []file{{"secret", text(1, 3<<20), "1"}}
		backup(t, r, "p1", files)
		packs := len(b.names("packs/"))
		_, stats := backup(t, open(t, b, writer.id), "p2", files)
		files[0].print = "" // read it, and deduplicate by content
		_, again := backup(t, open(t, b, writer.id), "p3", files)
		if got := len(b.names("packs/")); got != packs || stats.Reused != stats.Bytes || again.Reused != again.Bytes {
			t.Errorf("the writer did not deduplicate: %d packs, then %d; %+v %+v", packs, got, stats, again)
		}
		if s, err := r.Summary(t.Context(), address, "p1"); err != nil || s.Items != 1 {
			t.Errorf("summary: %+v, %v", s, err)
		}

		var keyErr *repo.KeyError
		if _, err := r.OpenPoint(t.Context(), address, "p1"); !errors.As(err, &keyErr) || !strings.Contains(err.Error(), recipient.public) {
			t.Errorf("open point: %v, want a KeyError naming the recipient", err)
		}
		if _, err := r.VerifyRead(t.Context(), address, "p1", nil); !errors.As(err, &keyErr) {
			t.Errorf("verify read: %v, want a KeyError", err)
		}
		if !errors.As(r.KeyError(), &keyErr) || keyErr.Need != "read" {
			t.Errorf("key error: %v", r.KeyError())
		}
		// All keys there are on such a host: its own, and the metadata identity inside its key document.
		ids := []age.Identity{writer.id}
		for _, name := range b.names("keys/") {
			plain := tryOpen(b.objects[name], writer.id)
			if plain == nil {
				continue
			}
			for _, line := range strings.FieldsFunc(string(plain), func(r rune) bool { return r == '"' }) {
				if strings.HasPrefix(line, "AGE-SECRET-KEY") {
					more, err := age.ParseIdentities(strings.NewReader(line))
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, more...)
				}
			}
		}
		if len(ids) != 2 {
			t.Fatalf("%d identities found, want the writer's and the metadata identity", len(ids))
		}
		for _, name := range b.names("") {
			sealed := strings.HasPrefix(name, "packs/") || strings.HasSuffix(name, ".manifest")
			if sealed && tryOpen(b.objects[name], ids...) != nil {
				t.Errorf("a writer's keys open %s", name)
			}
			if !sealed && bytes.Contains(b.objects[name], []byte("secret")) && name != "repo.json" {
				t.Errorf("%s holds a path in plain", name)
			}
		}
		wantRestored(t, open(t, b, recipient.id), "p3", []file{{path: "secret", data: text(1, 3<<20)}})
	}
}

func tryOpen(sealed []byte, ids ...age.Identity) []byte {
	r, err := age.Decrypt(bytes.NewReader(sealed), ids...)
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	if _, err := out.ReadFrom(r); err != nil {
		return nil
	}
	return out.Bytes()
}

func TestInitRefuses(t *testing.T) {
	k, pq := classic(t), hybrid(t)
	for _, c := range []struct {
		name, want string
		o          repo.InitOptions
	}{
		{"no recipients", "at least one recipient", repo.InitOptions{}},
		{"mixed recipients", "mix post-quantum and classic", repo.InitOptions{Recipients: []string{k.public, pq.public}}},
		{"twice", "named twice", repo.InitOptions{Recipients: []string{k.public, k.public}}},
		{"a secret key", "recipient", repo.InitOptions{Recipients: []string{"AGE-SECRET-KEY-1"}}},
		{"bad writer", "writer", repo.InitOptions{Recipients: []string{k.public}, Writers: []string{"age1x"}}},
		{"none with recipients", "without encryption", repo.InitOptions{None: true, Recipients: []string{k.public}}},
	} {
		b := newMemory()
		if _, err := repo.Init(t.Context(), b, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		if len(b.names("")) > 0 {
			t.Errorf("%s: wrote %v", c.name, b.names(""))
		}
	}
}

func TestInitAndOpenElsewhere(t *testing.T) {
	k := classic(t)
	o := repo.InitOptions{Recipients: []string{k.public}}
	b := newMemory()
	if _, err := repo.Open(t.Context(), b, repo.OpenOptions{}); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("open of nothing: %v", err)
	}
	id := initRepo(t, b, o)
	if _, err := repo.Init(t.Context(), b, o); !errors.Is(err, repo.ErrExists) {
		t.Errorf("init twice: %v", err)
	}
	var wrong *repo.WrongRepositoryError
	_, err := repo.Open(t.Context(), b, repo.OpenOptions{Expect: "0123"})
	if !errors.As(err, &wrong) || *wrong != (repo.WrongRepositoryError{Want: "0123", Got: id}) {
		t.Errorf("open of another: %v", err)
	}
	foreign := newMemory()
	foreign.objects["photos/cat.jpg"] = []byte("cat")
	if _, err := repo.Init(t.Context(), foreign, o); !errors.Is(err, repo.ErrForeign) || !strings.Contains(err.Error(), "cat.jpg") {
		t.Errorf("init in a foreign place: %v", err)
	}
	stranger := open(t, b, classic(t).id)
	if stranger.CanWrite() || stranger.CanRead() || stranger.KeyError() == nil {
		t.Error("a stranger's key opens the repository")
	}
	var keyErr *repo.KeyError
	if _, err := stranger.NewWriter(t.Context(), options("p1")); !errors.As(err, &keyErr) || !strings.Contains(err.Error(), k.public) {
		t.Errorf("a stranger's writer: %v", err)
	}
}

// TestTamperedConfig: whoever can write to the store cannot make a writer seal to somebody else.
func TestTamperedConfig(t *testing.T) {
	k, thief := classic(t), classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	b.objects["repo.json"] = bytes.Replace(b.objects["repo.json"], []byte(k.public), []byte(thief.public), 1)
	var d *repo.DamagedError
	_, err := repo.Open(t.Context(), b, repo.OpenOptions{Identities: []age.Identity{k.id}})
	if !errors.As(err, &d) || d.Object != "repo.json" {
		t.Errorf("got %v, want damage of repo.json", err)
	}
}

func TestPointsNeedNoKey(t *testing.T) {
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	backup(t, open(t, b, k.id), "20261122T021500Z-k3x9q2", []file{{"a", nil, ""}})
	r := open(t, b)
	got, err := r.Points(t.Context())
	want := []repo.PointRef{{Address: address, ID: "20261122T021500Z-k3x9q2", Manifest: true, Summary: true}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("points: %v (-want +got):\n%s", err, diff)
	}
	for _, name := range b.names("") {
		if err := blob.CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenByHand opens a pack and a manifest with the age and zstd commands alone, as docs/format/repository.md tells.
func TestOpenByHand(t *testing.T) {
	for _, tool := range []string{"age", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v; install it: apt-get install age zstd", err)
		}
	}
	k := classic(t)
	b := newMemory()
	initRepo(t, b, repo.InitOptions{Recipients: []string{k.public}})
	content := text(3, 700<<10)
	noise := random(4, 100<<10)
	backup(t, open(t, b, k.id), "p1", []file{{"a", content, ""}, {"b", noise, ""}})

	folder := t.TempDir()
	keyFile := filepath.Join(folder, "key.txt")
	if err := os.WriteFile(keyFile, fmt.Append(nil, k.id), 0o600); err != nil {
		t.Fatal(err)
	}
	byHand := func(name string) []byte {
		object := filepath.Join(folder, "object")
		if err := os.WriteFile(object, b.objects[name], 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `age -d -i "$1" "$2" | zstd -d -c`, "sh", keyFile, object)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Fatalf("%s: %v: %s", name, err, stderr.Bytes())
		}
		return out
	}
	packs := b.names("packs/")
	if len(packs) != 1 {
		t.Fatalf("%d packs, want 1", len(packs))
	}
	plain := byHand(packs[0]) // chunks stand in the order in which they were ready
	if len(plain) != len(content)+len(noise) || !bytes.Contains(plain, noise[:32<<10]) || !bytes.Contains(plain, content[:32<<10]) {
		t.Errorf("the pack opens to %d bytes, want the %d of the files", len(plain), len(content)+len(noise))
	}
	var manifest string
	for _, name := range b.names("points/") {
		if strings.HasSuffix(name, ".manifest") {
			manifest = string(byHand(name))
		}
	}
	lines := strings.Split(strings.TrimSpace(manifest), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"format":"holdfast-manifest"`) || !strings.HasPrefix(lines[1], `{"path":"a"`) {
		t.Errorf("manifest:\n%s", manifest)
	}
}
