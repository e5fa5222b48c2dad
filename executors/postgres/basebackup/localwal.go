package basebackup

import (
	"errors"
	"fmt"
	"os"

	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

const walDir = "pg_wal"

// wal adds the WAL from the start of the backup to its end. The server has switched to another segment when the backup
// stopped, so that all of these are whole and will not change; a slot keeps them. The empty notes keep a restored server from
// archiving them again, as PostgreSQL's own base backups do (src/backend/backup/basebackup.c).
func (l *local) wal(label pgdata.Label, end wal.LSN) error {
	size := l.req.Dir.Control.SegmentSize
	first, last := size.Number(label.Start), size.LastNumber(end)
	for number := first; number <= last; number++ {
		name := wal.Segment{Timeline: label.Timeline, Number: number}.Name(size)
		if err := l.segment(name, int64(size)); err != nil {
			return fmt.Errorf("the WAL from %s to %s is not whole in %s: %w", label.Start, end, l.disk(walDir), err)
		}
	}
	entries, err := os.ReadDir(l.disk(walDir))
	if err != nil {
		return at(err)
	}
	for _, e := range entries {
		if n := wal.ParseName(e.Name()); n.Kind != wal.KindHistory || n.Timeline > label.Timeline {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if err := l.file(walDir+"/"+e.Name(), info); err != nil {
			return err
		}
		if err := l.archived(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// segment adds one segment, which the manifest does not list.
func (l *local) segment(name string, size int64) error {
	info, err := os.Stat(l.disk(walDir + "/" + name))
	if err != nil {
		return at(err)
	}
	if info.Size() != size {
		return fmt.Errorf("%s has %d bytes and not %d", name, info.Size(), size)
	}
	l.result.Items++
	l.result.Bytes += size
	f := &localFile{l: l, name: walDir + "/" + name, exact: true, size: size, mode: 0o600, modified: info.ModTime().UTC()}
	return errors.Join(l.hand(f), l.archived(name))
}

func (l *local) archived(name string) error {
	return l.note(walDir+"/archive_status/"+name+".done", []byte{})
}
