package basebackup

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
)

// DefaultQuiet is for how long a file must have been left alone before a backup begins, so that a later one may recognise it. It
// covers the resolution of time stamps (2 s at worst) and writes beside PostgreSQL's buffers, for which a checkpoint does not wait.
const DefaultQuiet = 10 * time.Second

// trust tells which files have time stamps that prove later that nothing was written to them. docs/decisions/0132 has the
// reasons for every part of it.
type trust struct {
	before time.Time         // stamps from here on prove nothing
	whose  []byte            // the cluster, and the run of its server
	places map[string]uint64 // devices that can be trusted, by the folder that was looked at; 0 where none can
	dir    string
}

func newTrust(req LocalRequest, began time.Time) trust {
	quiet := req.Quiet
	if quiet == 0 {
		quiet = DefaultQuiet
	}
	whose := binary.BigEndian.AppendUint64(nil, req.Dir.Control.SystemID)
	whose = binary.BigEndian.AppendUint64(whose, uint64(req.Run.UnixMicro()))
	return trust{before: began.Add(-quiet), whose: whose, places: map[string]uint64{}, dir: req.Dir.Path}
}

// fingerprint identifies the content of a relation's file, as it was found. It is nil for what must be read in any case: files
// that are no relation's, those that were touched lately, and those on file systems whose stamps somebody else makes.
func (t *trust) fingerprint(name string, info fs.FileInfo) []byte {
	if _, ok := pgdata.ParseRelFile(name); !ok || t.whose == nil {
		return nil
	}
	st, ok := stampsOf(info)
	if !ok || !st.modified.Before(t.before) || !st.changed.Before(t.before) || st.device != t.device(name) {
		return nil
	}
	b := append([]byte(nil), t.whose...)
	for _, v := range []uint64{st.device, st.inode, uint64(info.Size()), uint64(st.modified.UnixNano()), uint64(st.changed.UnixNano())} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// device is the one on which a tablespace is, when its file system keeps its time stamps by this host's clock.
func (t *trust) device(name string) uint64 {
	oid, _ := spaceOf(name)
	dir := t.dir
	if oid != "" {
		dir = filepath.Join(t.dir, spacesDir, oid) + "/" // through the link
	}
	device, ok := t.places[dir]
	if !ok {
		if info, err := os.Stat(dir); err == nil && keepsTime(dir) {
			if st, ok := stampsOf(info); ok {
				device = st.device
			}
		}
		t.places[dir] = device
	}
	return device
}

// stamps are what a file system says of a file.
type stamps struct {
	device, inode     uint64
	modified, changed time.Time
}
