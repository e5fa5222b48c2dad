package manifest

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Writer writes a manifest of files that were read without the server's help, one at a time. It keeps no entry.
type Writer struct {
	out     *bufio.Writer
	to      io.Writer
	sum     hash.Hash
	version int
	system  uint64
	files   int
}

// NewWriter begins a manifest for a server of a major version. The system identifier is written from 17 on.
func NewWriter(to io.Writer, major int, system uint64) *Writer {
	w := &Writer{to: to, sum: sha256.New(), version: 1, system: system}
	if major >= 17 {
		w.version = 2
	}
	w.out = bufio.NewWriter(io.MultiWriter(to, w.sum))
	return w
}

// Add writes one file. Its time is written to the second.
func (w *Writer) Add(f File) error {
	if f.Path == "" || f.Size < 0 {
		return fmt.Errorf("backup manifest: %q with %d bytes is no file", f.Path, f.Size)
	}
	if w.files == 0 {
		w.begin()
	} else {
		w.print(",\n")
	}
	w.files++
	w.print("{ ")
	if plain(f.Path) {
		w.print(`"Path": "%s"`, f.Path)
	} else {
		w.print(`"Encoded-Path": "%x"`, f.Path)
	}
	w.print(`, "Size": %d, "Last-Modified": "%s"`, f.Size, f.Modified.UTC().Format(timeLayout))
	if f.Algorithm != None {
		w.print(`, "Checksum-Algorithm": "%s", "Checksum": "%x"`, f.Algorithm, f.Checksum)
	}
	return w.print(" }")
}

func (w *Writer) begin() {
	w.print("{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n", w.version)
	if w.version == 2 {
		w.print("\"System-Identifier\": %d,\n", w.system)
	}
	w.print("\"Files\": [\n")
}

// Finish writes the WAL that recovery needs, and the manifest's own checksum. Nothing counts before it has returned nil.
func (w *Writer) Finish(ranges []WALRange) error {
	if w.files == 0 {
		return errors.New("backup manifest: a base backup without files is none")
	}
	w.print("\n],\n\"WAL-Ranges\": [\n")
	for i, r := range ranges {
		if i > 0 {
			w.print(",\n")
		}
		w.print(`{ "Timeline": %d, "Start-LSN": "%s", "End-LSN": "%s" }`, r.Timeline, r.Start, r.End)
	}
	w.print("\n],\n")
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("write backup manifest: %w", err)
	}
	_, err := fmt.Fprintf(w.to, "\"Manifest-Checksum\": \"%s\"}\n", hex.EncodeToString(w.sum.Sum(nil)))
	return err
}

// print's errors stay in the buffer, which answers them again when it is flushed.
func (w *Writer) print(format string, args ...any) error {
	_, err := fmt.Fprintf(w.out, format, args...)
	return err
}

// plain tells whether a path can stand in JSON as it is. PostgreSQL's own names can; others are written in hex digits, which
// readers of every version understand.
func plain(path string) bool {
	return strings.IndexFunc(path, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) < 0
}

// FromCRC is a CRC32C as a manifest holds it.
func FromCRC(sum uint32) []byte {
	return []byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}
}
