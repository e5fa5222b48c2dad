package replication

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-io/holdfast/test/pgserver"
)

const ten = 10 * time.Second

// walsenders counts the processes that serve base backups and streams.
const walsenders = "select count(*)::text from pg_stat_activity where backend_type = 'walsender'"

func TestBackupRestores(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{})
	space := filepath.Join(filepath.Dir(s.Data), "elsewhere")
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	own(t, s, space)
	execSQL(t, s, "create tablespace far location '"+space+"'")
	execSQL(t, s, "create table near as select i, md5(i::text) m from generate_series(1, 50000) i; create table away tablespace far as select * from near")

	c := connect(t, s.DSN(""))
	b, err := c.BaseBackup(t.Context(), BackupOptions{Label: "it's here", Checkpoint: Fast, Manifest: true, ManifestChecksums: "SHA256", Progress: true, WAL: true, NoWait: true, IdleLimit: ten})
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Tablespaces) != 2 || b.Tablespaces[0].Location != space || b.Tablespaces[0].KiB < 1000 || b.Tablespaces[1].OID != 0 || b.Tablespaces[1].KiB < 10000 {
		t.Errorf("tablespaces = %+v", b.Tablespaces)
	}
	if now := askLSN(t, s, "select pg_current_wal_lsn()::text"); b.Timeline != 1 || b.Start == 0 || b.Start > now {
		t.Errorf("start = %s on %d, want at most %s on 1", b.Start, b.Timeline, now)
	}
	twin, manifest := restored(t, b, "")
	if got := ask(t, twin, "select concat(count(*), sum(hashtext(n.m))) from near n join away a using (i, m)"); got != ask(t, s, "select concat(count(*), sum(hashtext(m))) from near") {
		t.Errorf("the restored server has other rows: %s", got)
	}
	checkManifest(t, manifest)
	if got, err := c.Show(t.Context(), "data_directory"); err != nil || got != s.Data {
		t.Errorf("the connection after the backup: %q, %v", got, err)
	}
	again, err := b.Finish()
	checkError(t, err, "finished")
	if again != (Position{}) {
		t.Errorf("a second Finish gave %v", again)
	}
}

// checkManifest checks the manifest's own checksum: it came whole and unchanged.
func checkManifest(t *testing.T, manifest []byte) {
	t.Helper()
	i := bytes.LastIndex(manifest, []byte(`"Manifest-Checksum"`))
	var parsed struct {
		Files    []struct{ Path string }
		Checksum string `json:"Manifest-Checksum"`
	}
	if err := json.Unmarshal(manifest, &parsed); err != nil || i < 0 {
		t.Fatalf("the manifest cannot be read: %v", err)
	}
	if sum := sha256.Sum256(manifest[:i]); hex.EncodeToString(sum[:]) != parsed.Checksum || len(parsed.Files) < 500 {
		t.Errorf("the manifest of %d files has another checksum than it says", len(parsed.Files))
	}
}

// Whoever reads only some archives, or no manifest, still gets to the end.
func TestBackupSkips(t *testing.T) {
	c := connect(t, shared.DSN(""))
	b, err := c.BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast, Manifest: true, NoWait: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Manifest().Read(make([]byte, 1)); err == nil {
		t.Error("the manifest was read before the archives")
	}
	a, err := b.Next()
	if err != nil || a.Name != "base.tar" {
		t.Fatalf("Next = %+v, %v", a, err)
	}
	if _, err := io.CopyN(io.Discard, a, 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("Next after the last = %v, want EOF", err)
	}
	_, err = a.Read(make([]byte, 1))
	checkError(t, err, "the backup has gone on")
	end, err := b.Finish()
	if err != nil || end.Timeline != b.Timeline || end.LSN <= b.Start {
		t.Errorf("Finish = %v, %v", end, err)
	}
}

func TestBackupWithoutManifest(t *testing.T) {
	b, err := connect(t, shared.DSN("")).BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast, TablespaceMap: true})
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	if err := b.Walk(func(m Member, _ io.Reader) error { names[m.Path] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if !names["global/pg_control"] || !names["backup_label"] || !names["PG_VERSION"] {
		t.Errorf("the archive lacks files: it has %d", len(names))
	}
	manifest, err := io.ReadAll(b.Manifest())
	if err != nil || len(manifest) != 0 {
		t.Errorf("manifest = %q, %v, want none", manifest, err)
	}
	if _, err := b.Finish(); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsTheBackupOnTheServer(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"checkpoint_timeout": "1h"}})
	execSQL(t, s, "create table t as select i, md5(i::text) from generate_series(1, 200000) i")
	t.Run("while it is slowed down", func(t *testing.T) {
		b, err := connect(t, s.DSN("")).BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast, MaxRate: 32})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Next(); err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
		eventually(t, s, walsenders, "0", 2*time.Second)
	})
	t.Run("while nobody reads", func(t *testing.T) {
		b, err := connect(t, s.DSN("")).BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Next(); err != nil {
			t.Fatal(err)
		}
		eventually(t, s, "select coalesce(max(wait_event), '') from pg_stat_activity where backend_type = 'walsender'", "ClientWrite", ten)
		_ = b.Close()
		eventually(t, s, walsenders, "0", 2*time.Second)
	})
	t.Run("while it waits for the checkpoint", func(t *testing.T) {
		execSQL(t, s, "update t set i = i + 1")
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
		_, err := connect(t, s.DSN("")).BaseBackup(ctx, BackupOptions{Checkpoint: Spread})
		if !errors.Is(err, why) {
			t.Errorf("BaseBackup = %v, want the cause of the end", err)
		}
		eventually(t, s, walsenders, "0", 2*time.Second)
	})
	t.Run("when the context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b, err := connect(t, s.DSN("")).BaseBackup(ctx, BackupOptions{Checkpoint: Fast, MaxRate: 32})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(100*time.Millisecond, cancel)
		if _, err := b.Finish(); !errors.Is(err, context.Canceled) {
			t.Errorf("Finish = %v, want Canceled", err)
		}
		eventually(t, s, walsenders, "0", 2*time.Second)
	})
}

func TestDamagedPagesAreNamed(t *testing.T) {
	s := pgserver.Start(t, pgserver.Options{InitArgs: []string{"--data-checksums"}})
	execSQL(t, s, "create table t as select i, md5(i::text) from generate_series(1, 20000) i; checkpoint")
	relation := ask(t, s, "select pg_relation_filepath('t')")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(s.Data, relation), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 3*8192+4000); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}

	backup := func(opts BackupOptions) (string, Position, error) {
		var notices []string
		opts.Checkpoint, opts.NoWait, opts.Manifest = Fast, true, true
		opts.OnNotice = func(n *pgconn.Notice) { notices = append(notices, n.Severity+" "+n.Message) }
		b, err := connect(t, s.DSN("")).BaseBackup(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		end, err := b.Finish()
		return strings.Join(notices, "\n"), end, err
	}
	notices, end, err := backup(BackupOptions{})
	var damaged *ChecksumError
	if !errors.As(err, &damaged) || damaged.End != end || end.LSN == 0 {
		t.Errorf("Finish = %v, %v, want a ChecksumError with the end", end, err)
	}
	if want := regexp.MustCompile(fmt.Sprintf(`(?m)^WARNING .*%s", block 3:`, regexp.QuoteMeta(relation))); !want.MatchString(notices) {
		t.Errorf("notices %q, want %s", notices, want)
	}
	if notices, _, err := backup(BackupOptions{SkipPageChecksums: true}); err != nil || strings.Contains(notices, relation) {
		t.Errorf("without a look at checksums: %v, %q", err, notices)
	}
}

func TestIncrementalBackup(t *testing.T) {
	c := connect(t, shared.DSN(""))
	if c.Major() < versionIncremental {
		err := c.UploadManifest(t.Context(), strings.NewReader("{}"))
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("UploadManifest = %v, want ErrUnsupported", err)
		}
		return
	}
	s := pgserver.Start(t, pgserver.Options{Config: map[string]string{"summarize_wal": "on"}})
	execSQL(t, s, "create table t as select i, md5(i::text) m from generate_series(1, 100000) i")
	execSQL(t, s, "select count(*) from t; checkpoint") // hint bits are WAL too where pages have checksums
	c = connect(t, s.DSN(""))
	opts := BackupOptions{Checkpoint: Fast, Manifest: true, NoWait: true}
	full, manifest := sizes(t, c, opts)
	execSQL(t, s, "update t set m = 'x' where i = 500; checkpoint")
	if err := c.UploadManifest(t.Context(), bytes.NewReader(manifest)); err != nil {
		t.Fatal(err)
	}
	opts.Incremental = true
	part, second := sizes(t, c, opts)
	relation := ask(t, s, "select pg_relation_filepath('t')")
	inPart := filepath.Join(filepath.Dir(relation), "INCREMENTAL."+filepath.Base(relation))
	if full[relation] < 5<<20 || part[inPart] == 0 || part[inPart] > 100<<10 {
		t.Errorf("%s has %d bytes, %s %d", relation, full[relation], inPart, part[inPart])
	}
	checkManifest(t, second)

	if err := c.UploadManifest(t.Context(), io.MultiReader(strings.NewReader("{"), failing{})); err == nil || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("upload of what cannot be read = %v", err)
	}
	other := pgserver.Start(t, pgserver.Options{Config: map[string]string{"summarize_wal": "off"}})
	c = connect(t, other.DSN(""))
	_, manifest = sizes(t, c, BackupOptions{Checkpoint: Fast, Manifest: true, NoWait: true})
	if err := c.UploadManifest(t.Context(), bytes.NewReader(manifest)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.BaseBackup(t.Context(), opts); !errors.Is(err, ErrPrerequisite) {
		t.Errorf("incremental without summaries = %v, want ErrPrerequisite", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

func sizes(t *testing.T, c *Conn, opts BackupOptions) (map[string]int64, []byte) {
	t.Helper()
	b, err := c.BaseBackup(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]int64{}
	if err := b.Walk(func(m Member, _ io.Reader) error { files[m.Path] = m.Header.Size; return nil }); err != nil {
		t.Fatal(err)
	}
	manifest, err := io.ReadAll(b.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Finish(); err != nil {
		t.Fatal(err)
	}
	return files, manifest
}

// A visitor's own error is not changed, and its backup can be closed.
func TestWalkStops(t *testing.T) {
	b, err := connect(t, shared.DSN("")).BaseBackup(t.Context(), BackupOptions{Checkpoint: Fast})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("store is full")
	var seen []string
	if err := b.Walk(func(m Member, _ io.Reader) error { seen = append(seen, m.Path); return why }); !errors.Is(err, why) {
		t.Errorf("Walk = %v, want the visitor's error", err)
	}
	if diff := cmp.Diff([]string{"backup_label"}, seen); diff != "" {
		t.Errorf("visited (-want +got):\n%s", diff)
	}
	_ = b.Close()
}
