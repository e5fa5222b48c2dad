// Package manifest reads backup_manifest, the list of files that PostgreSQL writes beside every base backup, and checks files
// against it (PostgreSQL manual, chapter "Backup Manifest Format"; src/backend/backup/backup_manifest.c).
//
// It is pure: bytes in, values out. It holds one entry at a time, so its memory does not grow with the backup, and hostile input ends in an
// error.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// Name is the manifest's name in a data directory.
const Name = "backup_manifest"

// Manifest is what a manifest says beside its files.
type Manifest struct {
	Version  int        // 1, or 2 from PostgreSQL 17 on
	SystemID uint64     // of the cluster; 0 in version 1
	Files    int        // how many were listed
	Ranges   []WALRange // WAL that recovery of the backup needs
}

// WALRange is a part of one timeline's WAL.
type WALRange struct {
	Timeline   wal.Timeline
	Start, End wal.LSN // of the first byte, and behind the last
}

const maxRanges = 1 << 16 // timelines that one backup passes through; real ones pass through one, seldom two

// ErrChecksum says that the manifest is not what PostgreSQL wrote.
var ErrChecksum = errors.New("backup manifest is damaged: its own checksum does not match")

// Read reads a manifest to its end and hands out its files in order; an error of each ends it. What was handed out may only be
// trusted once Read has returned without an error, since the manifest's own checksum is its last line.
func Read(r io.Reader, each func(File) error) (Manifest, error) {
	in := &input{src: r, sum: sha256.New()}
	d := &decoder{in: in, json: json.NewDecoder(in), each: each}
	m, err := d.manifest()
	if err != nil {
		return Manifest{}, fmt.Errorf("read backup manifest: %w", err)
	}
	return m, nil
}

type decoder struct {
	in   *input
	json *json.Decoder
	each func(File) error

	m    Manifest
	seen map[string]bool
	sum  string
}

func (d *decoder) manifest() (Manifest, error) {
	d.seen = map[string]bool{}
	d.in.grant()
	if err := d.delim('{'); err != nil {
		return Manifest{}, err
	}
	for d.json.More() {
		if err := d.member(); err != nil {
			return Manifest{}, err
		}
	}
	if err := d.delim('}'); err != nil {
		return Manifest{}, err
	}
	if err := d.finish(); err != nil {
		return Manifest{}, err
	}
	return d.m, nil
}

// member reads one key of the manifest with its value.
func (d *decoder) member() error {
	d.in.grant()
	t, err := d.json.Token()
	if err != nil {
		return err
	}
	key, _ := t.(string)
	if d.seen[key] {
		return fmt.Errorf("%q stands there twice", key)
	}
	first := len(d.seen) == 0
	switch key {
	case "PostgreSQL-Backup-Manifest-Version":
		err = d.version()
	case "System-Identifier":
		err = d.json.Decode(&d.m.SystemID)
	case "Files":
		err = d.list(d.file)
	case "WAL-Ranges":
		err = d.list(d.walRange)
	case "Manifest-Checksum":
		err = d.json.Decode(&d.sum)
	default:
		return fmt.Errorf("key %.80q is unknown", key)
	}
	if err == nil && first != (key == "PostgreSQL-Backup-Manifest-Version") {
		err = errors.New("it does not begin with its version")
	}
	d.seen[key] = true
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	return nil
}

func (d *decoder) version() error {
	if err := d.json.Decode(&d.m.Version); err != nil {
		return err
	}
	if d.m.Version != 1 && d.m.Version != 2 {
		return fmt.Errorf("version %d is not 1 (PostgreSQL 13 to 16) or 2 (17 and later)", d.m.Version)
	}
	return nil
}

// list reads an array, one element at a time.
func (d *decoder) list(element func() error) error {
	if err := d.delim('['); err != nil {
		return err
	}
	for n := 1; d.json.More(); n++ {
		d.in.grant()
		if err := element(); err != nil {
			return fmt.Errorf("entry %d: %w", n, err)
		}
	}
	return d.delim(']')
}

func (d *decoder) file() error {
	var e fileEntry
	if err := d.json.Decode(&e); err != nil {
		return err
	}
	f, err := e.file()
	if err != nil {
		return err
	}
	d.m.Files++
	return d.each(f)
}

func (d *decoder) walRange() error {
	var e struct {
		Timeline wal.Timeline
		Start    string `json:"Start-LSN"`
		End      string `json:"End-LSN"`
	}
	if err := d.json.Decode(&e); err != nil {
		return err
	}
	start, err1 := wal.ParseLSN(e.Start)
	end, err2 := wal.ParseLSN(e.End)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if e.Timeline == 0 || end < start || len(d.m.Ranges) == maxRanges {
		return fmt.Errorf("timeline %d from %s to %s is no range of WAL, or one too many", e.Timeline, start, end)
	}
	d.m.Ranges = append(d.m.Ranges, WALRange{Timeline: e.Timeline, Start: start, End: end})
	return nil
}

func (d *decoder) delim(want json.Delim) error {
	t, err := d.json.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%.80q where %q belongs", fmt.Sprint(t), want.String())
	}
	return nil
}

// finish checks that everything was there, that nothing follows, and the manifest's own checksum.
func (d *decoder) finish() error {
	d.in.grant()
	if _, err := d.json.Token(); err == nil {
		return errors.New("more follows behind its end")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	needed := []string{"Files", "WAL-Ranges", "Manifest-Checksum"}
	if d.m.Version == 2 {
		needed = append(needed, "System-Identifier")
	}
	for _, key := range needed {
		if !d.seen[key] {
			return fmt.Errorf("%s is missing", key)
		}
	}
	want, err := hex.DecodeString(d.sum)
	if err != nil || len(want) != sha256.Size {
		return errors.New("Manifest-Checksum is no SHA-256")
	}
	if !strings.HasPrefix(string(d.in.last), `"Manifest-Checksum"`) || !bytes.Equal(want, d.in.sum.Sum(nil)) {
		return ErrChecksum
	}
	return nil
}
