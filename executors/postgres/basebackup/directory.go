package basebackup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
)

// Directory is the data directory of a running server on this host.
type Directory struct {
	Path    string
	Control pgdata.Control
}

// FindDirectory looks whether a folder is the data directory of a server and can be read. system is the server's; slot is a
// replication slot that was just made there and has a name of its own: its folder proves that this is the server's directory,
// and not a copy's under the same path in another container or on another host.
func FindDirectory(ctx context.Context, path string, system uint64, slot string) (Directory, error) {
	d := Directory{Path: path}
	if !filepath.IsAbs(path) {
		return d, fmt.Errorf("the server's data directory %q is no absolute path", path)
	}
	if _, err := os.ReadDir(path); err != nil {
		return d, fmt.Errorf("the server's data directory cannot be read here: %w", at(err))
	}
	var err error
	if d.Control, _, err = readControl(ctx, path); err != nil {
		return d, err
	}
	if d.Control.SystemID != system {
		return d, fmt.Errorf("%s on this host belongs to another cluster: its system identifier is %d, the server's is %d", path, d.Control.SystemID, system)
	}
	if d.Control.BlockSize != pgdata.PageSize || d.Control.Major() == 0 {
		return d, fmt.Errorf("%s has pages of %d bytes and the catalog version %d, which the local reader does not know", path, d.Control.BlockSize, d.Control.CatalogVersion)
	}
	if _, err := os.Stat(filepath.Join(path, "pg_replslot", slot)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return d, fmt.Errorf("%s on this host is a copy of the server's data directory, not the one it runs on", path)
		}
		return d, fmt.Errorf("the server's data directory cannot be read here: %w", at(err))
	}
	return d, d.readable()
}

// readable looks into the folders that may be on other disks or closed to this account.
func (d Directory) readable() error {
	for _, name := range []string{"base", "global", "pg_wal"} {
		if _, err := os.ReadDir(filepath.Join(d.Path, name)); err != nil {
			return fmt.Errorf("the server's data directory cannot be read here: %w", at(err))
		}
	}
	spaces, err := d.spaces()
	if err != nil {
		return err
	}
	for _, oid := range spaces {
		dir := filepath.Join(d.Path, spacesDir, strconv.FormatUint(uint64(oid), 10), d.version())
		if _, err := os.ReadDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("tablespace %d cannot be read here: %w", oid, at(err))
		}
	}
	return nil
}

// spaces lists the tablespaces that have a link.
func (d Directory) spaces() ([]uint32, error) {
	entries, err := os.ReadDir(filepath.Join(d.Path, spacesDir))
	if err != nil {
		return nil, fmt.Errorf("the server's data directory cannot be read here: %w", at(err))
	}
	var out []uint32
	for _, e := range entries {
		oid, err := strconv.ParseUint(e.Name(), 10, 32)
		if err != nil {
			continue
		}
		if e.Type()&fs.ModeSymlink == 0 {
			return nil, fmt.Errorf("tablespace %d is inside the data directory (allow_in_place_tablespaces), which no restore point can hold", oid)
		}
		out = append(out, uint32(oid))
	}
	return out, nil
}

// version is the folder of a tablespace that belongs to this server: another major version may share the location
// (src/include/common/relpath.h).
func (d Directory) version() string {
	return fmt.Sprintf("PG_%d_%d", d.Control.Major(), d.Control.CatalogVersion)
}

// Reading pg_control again: it is written in place, so that a read may see half of the old one. A write takes microseconds.
const (
	controlTries = 20
	controlPause = 10 * time.Millisecond
)

// readControl reads the control file until it is whole.
func readControl(ctx context.Context, dir string) (pgdata.Control, []byte, error) {
	path := filepath.Join(dir, filepath.FromSlash(controlFile))
	var c pgdata.Control
	for try := 1; ; try++ {
		content, err := os.ReadFile(path)
		if err != nil {
			return c, nil, fmt.Errorf("the server's data directory cannot be read here: %w", at(err))
		}
		c, err = pgdata.ParseControl(content)
		if err == nil {
			return c, content, nil
		}
		if try == controlTries {
			return c, nil, fmt.Errorf("read %s: %w", path, err)
		}
		select {
		case <-time.After(controlPause):
		case <-ctx.Done():
			return c, nil, context.Cause(ctx)
		}
	}
}

// at says what to do about a file that may not be read.
func at(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run holdfast as the server's account, or let this one read it (initdb --allow-group-access)", err)
	}
	return err
}
