package basebackup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
)

// Restoration is a data directory that will be written, decided before anything is.
type Restoration struct {
	Document *Document
	Items    int64
	Bytes    int64

	target   Target
	places   []*place
	byOID    map[string]*place
	settings string
	signal   bool
	from     executors.Supply
	delta    bool
	reused   map[string]bool // files that were taken from what is there
	Reused   int64           // bytes of these
}

// Plan reads what a restore point holds and decides where it goes. It writes nothing, and refuses what Write would refuse.
func Plan(ctx context.Context, from executors.Supply, t Target) (*Restoration, error) {
	doc, err := ReadDocument(ctx, from)
	if err != nil {
		return nil, err
	}
	r := &Restoration{Document: doc, target: t, from: from, byOID: map[string]*place{}}
	if r.places, err = t.places(doc); err != nil {
		return nil, err
	}
	for _, p := range r.places {
		r.byOID[p.oid] = p
	}
	sizes, control := map[string]int64{}, false
	err = from.Entries(ctx, func(e executors.Entry) error {
		name, ok := inData(e.Path)
		if !ok {
			return nil
		}
		oid, _ := spaceOf(name)
		if !filepath.IsLocal(name) || strings.ContainsRune(name, '\\') || r.byOID[oid] == nil && name != spacesDir {
			return fmt.Errorf("the restore point holds %q, which belongs to no folder of it", e.Path)
		}
		control = control || name == controlFile
		sizes[oid] += e.Size
		r.Items++
		r.Bytes += e.Size
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !control {
		return nil, fmt.Errorf("the restore point holds no %s/%s", dataDir, controlFile)
	}
	return r, room(r.places, sizes)
}

// Recover adds to what Write writes: lines of postgresql.auto.conf, and recovery.signal, which makes a server fetch WAL from
// outside.
func (r *Restoration) Recover(settings string) { r.settings, r.signal = settings, true }

// Delta makes Write take files that are right already from what is replaced: those whose size and checksum are what the server's
// manifest says. They are copied, so that what is there stays what it is.
func (r *Restoration) Delta() { r.delta = true }

// Creates and Replaces name folders for people.
func (r *Restoration) Creates() (creates, replaces []string) {
	for _, p := range r.places {
		what := p.final
		if p.oid != "" {
			what += " (tablespace " + p.oid + ")"
		}
		if p.kept != "" {
			replaces = append(replaces, fmt.Sprintf("%s (kept as %s)", what, p.kept))
		} else {
			creates = append(creates, what)
		}
	}
	return creates, replaces
}

// Write writes the data directory. When it fails nothing of it stays, and what was there is there.
func (r *Restoration) Write(ctx context.Context) (err error) {
	token := strings.ToLower(rand.Text()[:8])
	defer func() {
		if err == nil {
			return
		}
		for _, p := range r.places {
			err = errors.Join(err, p.undo())
		}
	}()
	for _, p := range r.places {
		if err := p.begin(token); err != nil {
			return err
		}
	}
	if r.delta {
		if err := r.reuse(ctx); err != nil {
			return err
		}
	}
	if err := r.files(ctx); err != nil {
		return err
	}
	if err := r.extras(); err != nil {
		return err
	}
	if err := r.own(); err != nil {
		return err
	}
	for _, p := range r.places {
		if err := syncAll(p.dir); err != nil {
			return fmt.Errorf("make %s durable: %w", p.final, err)
		}
	}
	if err := r.control(ctx); err != nil {
		return err
	}
	for i := range r.places { // the data directory comes last
		if err := r.places[len(r.places)-1-i].finish(); err != nil {
			return err
		}
	}
	return nil
}

// files writes everything but pg_control.
func (r *Restoration) files(ctx context.Context) error {
	buf := make([]byte, 1<<20)
	return r.from.Read(ctx, func(e executors.Entry) bool {
		name, ok := inData(e.Path)
		return ok && name != controlFile && !r.reused[name]
	}, func(e executors.Entry, content io.Reader) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		name, _ := inData(e.Path)
		return r.write(name, e, content, buf)
	})
}

// path is where a file of the data directory is written.
func (r *Restoration) path(name string) string {
	oid, rest := spaceOf(name)
	return filepath.Join(r.byOID[oid].dir, filepath.FromSlash(rest))
}

func (r *Restoration) write(name string, e executors.Entry, content io.Reader, buf []byte) error {
	at := r.path(name)
	if e.Type == executors.TypeDir {
		err := os.MkdirAll(at, 0o700)
		if err == nil {
			err = os.Chmod(at, os.FileMode(e.Mode&0o777)|0o700)
		}
		return err
	}
	if e.Type != executors.TypeFile {
		return fmt.Errorf("%s is a %s, which no data directory holds", name, e.Type)
	}
	if name == spaceMapFile {
		return r.spaceMap(at, content)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(e.Mode&0o777)|0o600)
	if err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, content, buf)
	if err = errors.Join(err, f.Close()); err == nil && n != e.Size {
		err = fmt.Errorf("%d bytes came, recorded are %d", n, e.Size)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", at, err)
	}
	return nil
}

// spaceMap writes where tablespaces are now: a server makes the links when recovery begins.
func (r *Restoration) spaceMap(at string, old io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(old, maxDocument))
	if err != nil {
		return err
	}
	spaces, err := pgdata.ParseTablespaceMap(text)
	if err != nil {
		return err
	}
	for i := range spaces {
		p := r.byOID[strconv.FormatUint(uint64(spaces[i].OID), 10)]
		if p == nil {
			return fmt.Errorf("%s names tablespace %d, which the backup does not hold", spaceMapFile, spaces[i].OID)
		}
		spaces[i].Path = p.final
	}
	return os.WriteFile(at, pgdata.TablespaceMap(spaces), 0o600)
}

// extras writes what tells the server how to recover.
func (r *Restoration) extras() error {
	dir := r.byOID[""].dir
	for _, name := range []string{"postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if !r.signal {
		return nil
	}
	auto := filepath.Join(dir, "postgresql.auto.conf")
	text, err := os.ReadFile(auto)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(auto, []byte(withoutRecovery(string(text))+r.settings), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "recovery.signal"), nil, 0o600)
}

// withoutRecovery drops what an earlier recovery has left in postgresql.auto.conf, where each setting has a line of its own.
func withoutRecovery(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if name == "restore_command" || name == "primary_conninfo" || name == "primary_slot_name" || strings.HasPrefix(name, "recovery_target") {
			continue
		}
		out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	return out.String()
}

// own gives everything to the account that runs servers.
func (r *Restoration) own() error {
	for _, p := range r.places {
		uid, gid, ok := p.owner()
		if !ok {
			continue
		}
		err := filepath.WalkDir(p.dir, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, uid, gid))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// control writes pg_control, when everything else is durable.
func (r *Restoration) control(ctx context.Context) error {
	return readOne(ctx, r.from, dataDir+"/"+controlFile, func(content io.Reader) error {
		at := r.path(controlFile)
		f, err := os.OpenFile(at, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if uid, gid, ok := r.byOID[""].owner(); ok {
			err = errors.Join(err, f.Chown(uid, gid))
		}
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("write %s: %w", at, err)
		}
		return syncDir(filepath.Dir(at))
	})
}
