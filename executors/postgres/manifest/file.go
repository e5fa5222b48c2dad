package manifest

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"path"
	"strings"
	"time"
)

// Algorithm is how a file's checksum was made.
type Algorithm string

// The algorithms (src/include/common/checksum_helper.h).
const (
	None   Algorithm = "NONE"
	CRC32C Algorithm = "CRC32C"
	SHA224 Algorithm = "SHA224"
	SHA256 Algorithm = "SHA256"
	SHA384 Algorithm = "SHA384"
	SHA512 Algorithm = "SHA512"
)

// File is one file of a backup.
type File struct {
	Path      string // relative to the data directory, with slashes; any bytes, not always UTF-8
	Size      int64
	Modified  time.Time // UTC, to the second
	Algorithm Algorithm
	Checksum  []byte // nil with None
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// newHash returns the algorithm's hash; nil with None.
func (a Algorithm) newHash() (hash.Hash, error) {
	switch a {
	case None:
		return nil, nil
	case CRC32C:
		return crc32.New(castagnoli), nil
	case SHA224:
		return sha256.New224(), nil
	case SHA256:
		return sha256.New(), nil
	case SHA384:
		return sha512.New384(), nil
	case SHA512:
		return sha512.New(), nil
	default:
		return nil, fmt.Errorf("checksum algorithm %.20q is none of NONE, CRC32C, SHA224, SHA256, SHA384, SHA512", string(a))
	}
}

// Check checks one file's bytes, which are written to it, against the manifest.
type Check struct {
	file File
	hash hash.Hash // nil with None
	size int64
}

// Check begins a check of a file that Read handed out.
func (f File) Check() (*Check, error) {
	h, err := f.Algorithm.newHash()
	if err != nil {
		return nil, err
	}
	return &Check{file: f, hash: h}, nil
}

// Write takes the file's next bytes. It never fails.
func (c *Check) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	if c.hash != nil {
		c.hash.Write(p)
	}
	return len(p), nil
}

// Finish says whether the bytes were those of the file. Without a checksum only their number is compared.
func (c *Check) Finish() error {
	if c.size != c.file.Size {
		return fmt.Errorf("%q has %d bytes where the backup manifest says %d", c.file.Path, c.size, c.file.Size)
	}
	if c.hash == nil {
		return nil
	}
	got := c.hash.Sum(nil)
	if c.file.Algorithm == CRC32C { // PostgreSQL writes the number's bytes as they are in memory, least significant first
		got[0], got[1], got[2], got[3] = got[3], got[2], got[1], got[0]
	}
	if !bytes.Equal(got, c.file.Checksum) {
		return fmt.Errorf("%q has the %s checksum %x where the backup manifest says %x", c.file.Path, c.file.Algorithm, got, c.file.Checksum)
	}
	return nil
}

// Verify reads a file and says whether it is what the manifest says.
func (f File) Verify(r io.Reader) error {
	c, err := f.Check()
	if err != nil {
		return err
	}
	if _, err := io.Copy(c, r); err != nil {
		return fmt.Errorf("read %q: %w", f.Path, err)
	}
	return c.Finish()
}

// fileEntry is a file as JSON says it.
type fileEntry struct {
	Path      *string
	Encoded   *string `json:"Encoded-Path"` // hex digits of a path that is not UTF-8
	Size      *int64
	Modified  string    `json:"Last-Modified"`
	Algorithm Algorithm `json:"Checksum-Algorithm"`
	Checksum  string
}

const timeLayout = "2006-01-02 15:04:05 GMT"

func (e fileEntry) file() (File, error) {
	name, err := e.path()
	if err != nil {
		return File{}, err
	}
	if e.Size == nil || *e.Size < 0 {
		return File{}, fmt.Errorf("%q has no size", name)
	}
	f := File{Path: name, Size: *e.Size, Algorithm: e.Algorithm}
	if f.Modified, err = time.Parse(timeLayout, e.Modified); err != nil {
		return File{}, fmt.Errorf("%q: %w", name, err)
	}
	if f.Algorithm == "" {
		f.Algorithm = None // so PostgreSQL writes a file without a checksum
	}
	if err := f.setChecksum(e.Checksum); err != nil {
		return File{}, fmt.Errorf("%q: %w", name, err)
	}
	return f, nil
}

func (f *File) setChecksum(text string) error {
	h, err := f.Algorithm.newHash()
	if err != nil {
		return err
	}
	if h == nil {
		if text != "" {
			return errors.New("a checksum without its algorithm")
		}
		return nil
	}
	if f.Checksum, err = hex.DecodeString(text); err != nil || len(f.Checksum) != h.Size() {
		return fmt.Errorf("%.140q is no %s checksum", text, f.Algorithm)
	}
	return nil
}

func (e fileEntry) path() (string, error) {
	var name string
	switch {
	case e.Path != nil && e.Encoded == nil:
		name = *e.Path
	case e.Encoded != nil && e.Path == nil:
		raw, err := hex.DecodeString(*e.Encoded)
		if err != nil {
			return "", fmt.Errorf("encoded path %.80q: %w", *e.Encoded, err)
		}
		name = string(raw)
	default:
		return "", errors.New("it has not one path")
	}
	// Who restores joins these to a folder: none may lead out of it.
	if name == "." || name == "" || path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("path %.80q is not one inside a data directory", name)
	}
	return name, nil
}
