package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/test/pgserver"
	"github.com/holdfast-io/holdfast/test/ragdata"
)

func (d *demo) policyDir() string   { return filepath.Join(d.work, "policy") }
func (d *demo) configDir() string   { return filepath.Join(d.work, "config") }
func (d *demo) storeDir() string    { return filepath.Join(d.work, "store") }
func (d *demo) restoredDir() string { return filepath.Join(d.work, "config-restored") }

// The files of the two keys. hostKey is all that the backup host has; recoveryKey a person brings along to restore.
const (
	hostKey     = "host.key"
	recoveryKey = "recovery.key"
)

func (d *demo) startSources(ctx context.Context, dir string) (err error) {
	d.out.heading("A RAG platform: PostgreSQL, Qdrant and a folder of configuration")
	if d.server, err = pgserver.Run(dir, pgserver.Options{}); err != nil {
		return err
	}
	if err := d.server.Exec(ctx, "postgres", "create database app"); err != nil {
		return err
	}
	conn, err := d.connect(ctx, "app")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := d.data.Load(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "create view long_chunks as select id, length(content) from chunks where length(content) > 1600").ReadAll(); err != nil {
		return err
	}
	rows, err := d.query(ctx, "app", `select current_setting('server_version'), pg_database_size('app'),
		(select count(*) from documents), (select count(*) from chunks), (select count(*) from accounts)`)
	if err != nil {
		return err
	}
	r := rows[0]
	var bytes int64
	if _, err := fmt.Sscan(string(r[1]), &bytes); err != nil {
		return err
	}
	d.out.say("PostgreSQL %s with %s: %s documents, %s chunks with jsonb and embeddings, %s accounts.", r[0], size(bytes), r[2], r[3], r[4])
	if d.qdrant, err = startQdrant(ctx, d.work); err != nil {
		return err
	}
	if err := d.fillVectors(ctx); err != nil {
		return err
	}
	if err := writeConfig(d.configDir()); err != nil {
		return fmt.Errorf("write configuration files: %w", err)
	}
	files, err := describe(d.configDir())
	if err != nil {
		return err
	}
	d.out.say("%d files, folders, links; one sparse, one hard-linked, one read-only.", len(files))
	return nil
}

const policyText = `store "primary" {
  url = "file://%s"
  encryption {
    recipients = ["%s"] # can read; the secret half is not on this host
    writers    = ["%s"] # this host: may add, cannot read
  }
}

source "postgres" "app" {
  dsn = env("APP_DATABASE_URL")
}

source "qdrant" "vectors" {
  urls        = ["%s"]
  grpc        = ["%s"]
  collections = ["%s"]
}

source "files" "config" {
  root = "%s"
}

retention "standard" {
  last  = 3
  daily = 14
}

backup "app" {
  source    = source.postgres.app
  store     = store.primary
  retention = retention.standard
  schedule { every = "1h" }
  objective { rpo = "2h" }
  logical { databases = ["app"] }
  verify { after = "stored" }
}

backup "vectors" {
  source    = source.qdrant.vectors
  store     = store.primary
  retention = retention.standard
  schedule { every = "1h" }
  objective { rpo = "2h" }
  snapshot {}
  verify { after = "stored" }
}

backup "config" {
  source    = source.files.config
  store     = store.primary
  retention = retention.standard
  schedule { every = "1h" }
  verify { after = "stored" }
}
`

func (d *demo) declare(ctx context.Context) error {
	d.out.heading("Two keys and a policy")
	if err := os.MkdirAll(d.policyDir(), 0o700); err != nil {
		return err
	}
	var recipients []string
	for _, name := range []string{recoveryKey, hostKey} {
		r, err := d.holdfast(ctx, 0, call{args: []string{"key", "generate", "-out=../" + name}})
		if err != nil {
			return err
		}
		recipients = append(recipients, strings.TrimSpace(r.stdout))
	}
	text := fmt.Sprintf(policyText, d.storeDir(), recipients[0], recipients[1], d.qdrant.URL, d.qdrant.GRPC, collection, d.configDir())
	if err := os.WriteFile(filepath.Join(d.policyDir(), "platform.hf.hcl"), []byte(text), 0o600); err != nil {
		return err
	}
	d.out.say("platform.hf.hcl: 1 store, 3 sources, 1 retention, 3 backups in %d lines.", strings.Count(text, "\n"))
	if _, err := d.holdfast(ctx, 0, call{args: []string{"validate"}}); err != nil {
		return err
	}
	_, err := d.holdfast(ctx, 0, call{args: []string{"init"}, key: hostKey})
	return err
}

func (d *demo) firstBackup(ctx context.Context) error {
	d.out.heading("Plan, apply, and nothing left to do")
	if _, err := d.holdfast(ctx, 2, call{args: []string{"plan", "-detailed-exitcode", "-exitcode-on=changes,due"}, key: hostKey}); err != nil {
		return err
	}
	if err := d.apply(ctx); err != nil {
		return err
	}
	return d.nothingToDo(ctx)
}

// apply runs apply and shows how its actions ended; what it says before is the plan, which was shown.
func (d *demo) apply(ctx context.Context, more ...string) error {
	r, err := d.holdfast(ctx, 0, call{args: append([]string{"apply", "-auto-approve"}, more...), key: hostKey, show: "none"})
	if err != nil {
		return err
	}
	for line := range strings.Lines(r.stdout) {
		if strings.Contains(line, " after ") || strings.HasPrefix(line, "Apply ") {
			d.out.quote(line)
		}
	}
	return nil
}

func (d *demo) nothingToDo(ctx context.Context, more ...string) error {
	_, err := d.holdfast(ctx, 0, call{args: append([]string{"plan", "-detailed-exitcode", "-exitcode-on=changes,due"}, more...), key: hostKey})
	return err
}

// earlier is how the sources were at the first backup.
type moment struct {
	database, vectors, files map[string]string
}

func (d *demo) remember(ctx context.Context) (m moment, err error) {
	if m.database, err = d.fingerprint(ctx, "app"); err != nil {
		return m, err
	}
	if m.vectors, err = d.qdrant.describe(ctx, collection); err != nil {
		return m, err
	}
	m.files, err = describe(d.configDir())
	return m, err
}

func (d *demo) changeSources(ctx context.Context) (err error) {
	d.out.heading("The data changes")
	if d.earlier, err = d.remember(ctx); err != nil {
		return err
	}
	conn, err := d.connect(ctx, "app")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := d.data.Change(ctx, conn, 1)
	if err != nil {
		return err
	}
	if err := d.changeVectors(ctx); err != nil {
		return err
	}
	if err := changeConfig(d.configDir()); err != nil {
		return fmt.Errorf("change configuration files: %w", err)
	}
	now, err := describe(d.configDir())
	if err != nil {
		return err
	}
	changed := 0
	for name, line := range now {
		if d.earlier.files[name] != line {
			changed++
		}
	}
	d.out.say("%d rows changed, came or went: documents ingested anew, the accounts of a branch, new chunks; %d entries of the folder changed.", rows, changed)
	return nil
}

// point is a restore point as points -json tells it.
type point struct {
	Address string `json:"address"`
	ID      string `json:"id"`
	Size    int64  `json:"size"`
	Stored  int64  `json:"stored"`
}

func (d *demo) points(ctx context.Context) (map[string][]point, error) {
	r, err := d.holdfast(ctx, 0, call{args: []string{"points", "-json"}, show: "none"})
	if err != nil {
		return nil, err
	}
	var listed struct {
		Points []point `json:"points"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &listed); err != nil {
		return nil, fmt.Errorf("read points -json: %w", err)
	}
	byBackup := map[string][]point{}
	for _, p := range listed.Points {
		byBackup[p.Address] = append(byBackup[p.Address], p)
	}
	return byBackup, nil
}

func (d *demo) secondBackup(ctx context.Context) error {
	next := time.Now().UTC().Truncate(time.Hour).Add(time.Hour + 5*time.Minute)
	d.out.heading("The next slot: only what changed is stored")
	at := "-at=" + next.Format(time.RFC3339)
	if err := d.apply(ctx, at); err != nil {
		return err
	}
	if err := d.nothingToDo(ctx, at); err != nil {
		return err
	}
	points, err := d.points(ctx)
	if err != nil {
		return err
	}
	for _, address := range []string{"backup.app", "backup.vectors", "backup.config"} {
		p := points[address]
		if len(p) != 2 {
			return fmt.Errorf("%s has %d restore points, expected 2", address, len(p))
		}
		d.out.say("%-14s first: %s of data, %s stored; second: %s of data, %s stored.", address, size(p[0].Size), size(p[0].Stored), size(p[1].Size), size(p[1].Stored))
		if p[1].Stored*2 > p[0].Stored {
			return fmt.Errorf("%s: the second backup stored %d bytes, more than half of the first one's %d", address, p[1].Stored, p[0].Stored)
		}
	}
	d.first = map[string]string{}
	for address, list := range points {
		d.first[address] = list[0].ID
	}
	return nil
}

func (d *demo) damage(ctx context.Context) error {
	d.out.heading("A byte flips in the store")
	pack, offset, err := d.flip("", 0)
	if err != nil {
		return err
	}
	name := filepath.Base(pack)
	d.out.say("Byte %d of %s.", offset, pack)
	r, err := d.holdfast(ctx, 1, call{args: []string{"verify", "-level=stored"}, key: hostKey})
	if err != nil {
		return err
	}
	d.out.quote(r.stderr)
	if !strings.Contains(r.stdout+r.stderr, name) {
		return fmt.Errorf("verify failed, and did not name %s", name)
	}
	if _, _, err := d.flip(pack, offset); err != nil {
		return err
	}
	d.out.say("The byte is put back. Everything can be read again; but not by this host, whose key only writes.")
	if _, err := d.holdfast(ctx, 0, call{args: []string{"verify", "-level=read"}, key: recoveryKey}); err != nil {
		return err
	}
	r, err = d.holdfast(ctx, 1, call{args: []string{"verify", "backup.config", "-level=read"}, key: hostKey, show: "none"})
	if err != nil {
		return err
	}
	refusal, _, _ := strings.Cut(r.stderr, "\n")
	d.out.quote(refusal)
	return nil
}

// flip changes one bit in the middle of a pack, the largest one when none is named; doing it twice undoes it.
func (d *demo) flip(pack string, offset int64) (string, int64, error) {
	if pack == "" {
		packs, err := filepath.Glob(filepath.Join(d.storeDir(), "packs", "*", "*"))
		if err != nil {
			return "", 0, err
		}
		for _, p := range packs {
			info, err := os.Stat(p)
			if err != nil {
				return "", 0, err
			}
			if info.Size()/2 > offset {
				pack, offset = p, info.Size()/2
			}
		}
		if pack == "" {
			return "", 0, errors.New("the store holds no packs")
		}
	}
	if err := os.Chmod(pack, 0o600); err != nil {
		return "", 0, err
	}
	f, err := os.OpenFile(pack, os.O_RDWR, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		return "", 0, err
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], offset); err != nil {
		return "", 0, err
	}
	return pack, offset, f.Close()
}

func (d *demo) restoreDatabase(ctx context.Context) error {
	d.out.heading("The database comes back under another name")
	if err := d.restore(ctx, "backup.app", "latest", "app_restored", ""); err != nil {
		return err
	}
	now, err := d.fingerprint(ctx, "app")
	if err != nil {
		return err
	}
	back, err := d.fingerprint(ctx, "app_restored")
	if err != nil {
		return err
	}
	if err := differences(now, back); err != nil {
		return fmt.Errorf("the restored database is another: %w", err)
	}
	for _, table := range ragdata.Tables {
		rows, err := d.compareRows(ctx, table, "app", "app_restored")
		if err != nil {
			return err
		}
		d.out.say("%-10s %7d rows compared, column by column; %s", table, rows, back[table])
	}
	return nil
}

// restore brings a point of a backup back to a database of that name, to a collection, or to a folder.
func (d *demo) restore(ctx context.Context, address, id, target, show string) error {
	var env []string
	if address == "backup.app" {
		target = d.server.DSNAs(pgserver.User, "", target)
		env = append(env, "PGPASSWORD="+d.server.Password()) // nobody's process list shows a password
	}
	_, err := d.holdfast(ctx, 0, call{args: []string{"restore", address, "-point=" + id, "-target=" + target, "-auto-approve"}, key: recoveryKey, env: env, show: show})
	return err
}

func (d *demo) restoreFiles(ctx context.Context) error {
	d.out.heading("The files come back in another folder")
	if err := d.restore(ctx, "backup.config", "latest", d.restoredDir(), "end"); err != nil {
		return err
	}
	now, err := describe(d.configDir())
	if err != nil {
		return err
	}
	back, err := describe(d.restoredDir())
	if err != nil {
		return err
	}
	if err := differences(now, back); err != nil {
		return fmt.Errorf("the restored folder is another: %w", err)
	}
	d.out.say("%d entries compared: content, mode, owner, time, links.", len(back))
	return nil
}

func (d *demo) restoreEarlier(ctx context.Context) error {
	d.out.heading("And so does the state before the change")
	if err := d.restore(ctx, "backup.app", d.first["backup.app"], "app_earlier", "end"); err != nil {
		return err
	}
	database, err := d.fingerprint(ctx, "app_earlier")
	if err != nil {
		return err
	}
	folder := d.restoredDir() + "-earlier"
	if err := d.restore(ctx, "backup.config", d.first["backup.config"], folder, "end"); err != nil {
		return err
	}
	files, err := describe(folder)
	if err != nil {
		return err
	}
	if err := d.restore(ctx, "backup.vectors", d.first["backup.vectors"], "*_earlier", "end"); err != nil {
		return err
	}
	vectors, err := d.qdrant.describe(ctx, collection+"_earlier")
	if err != nil {
		return err
	}
	if err := errors.Join(differences(d.earlier.database, database), differences(d.earlier.vectors, vectors), differences(d.earlier.files, files)); err != nil {
		return fmt.Errorf("the first restore points bring back something else: %w", err)
	}
	d.out.say("Every table's hash, every point and every file are those from before the change.")
	return nil
}
