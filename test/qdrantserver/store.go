package qdrantserver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// description is a snapshot file as lists show it.
type description struct {
	Name     string  `json:"name"`
	Created  *string `json:"creation_time"`
	Size     int64   `json:"size"`
	Checksum string  `json:"checksum,omitempty"`
}

const snapshotTime = "2006-01-02-15-04-05"

// folder is where a node keeps the snapshots of a collection, and of a shard if sub is its folder. It is in the bucket
// with Options.S3Snapshots.
func (n *node) folder(collection string, sub ...string) string {
	base := n.snapshots
	if n.c.opts.S3Snapshots {
		base = n.bucket
	}
	return filepath.Join(append([]string{base, collection}, sub...)...)
}

func shardFolder(id uint32) []string { return []string{"shards", strconv.Itoa(int(id))} }

// keep writes a snapshot to a temporary file and moves it to its place when it is whole, with its checksum beside it.
func (n *node) keep(folder, name string, write func(io.Writer) error) (*description, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, internal("%v", err)
	}
	tmp, err := os.CreateTemp(n.tmp, name+"-arc-*")
	if err != nil {
		return nil, internal("%v", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone after the rename
	sum := sha256.New()
	err = write(io.MultiWriter(tmp, sum))
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, internal("failed to create snapshot archive: %v", err)
	}
	place := filepath.Join(folder, name)
	if !n.c.opts.S3Snapshots {
		if err := os.WriteFile(place+".checksum", []byte(hex.EncodeToString(sum.Sum(nil))), 0o600); err != nil {
			return nil, internal("%v", err)
		}
	}
	if err := os.Rename(tmp.Name(), place); err != nil {
		return nil, internal("%v", err)
	}
	return n.describe(place)
}

func (n *node) describe(place string) (*description, error) {
	info, err := os.Stat(place)
	if err != nil {
		return nil, internal("%v", err)
	}
	created := info.ModTime().UTC().Format("2006-01-02T15:04:05")
	d := &description{Name: filepath.Base(place), Created: &created, Size: info.Size()}
	if sum, err := os.ReadFile(place + ".checksum"); err == nil { // #nosec G304: below the folder of the test
		d.Checksum = string(sum)
	}
	return d, nil
}

// list describes the snapshots in a folder. A bucket has no folders, so there the lists of shards are in it too.
func (n *node) list(folder string) ([]*description, error) {
	list := []*description{}
	add := func(place string) error {
		if filepath.Ext(place) != ".snapshot" {
			return nil
		}
		d, err := n.describe(place)
		if err == nil {
			list = append(list, d)
		}
		return err
	}
	if n.c.opts.S3Snapshots {
		err := filepath.WalkDir(folder, func(place string, e os.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return nil //nolint:nilerr // what is not there is not listed
			}
			return add(place)
		})
		return list, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return list, nil //nolint:nilerr // no folder, no snapshots
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := add(filepath.Join(folder, e.Name())); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// place is the path of a snapshot that exists.
func place(folder, name string) (string, error) {
	p := filepath.Join(folder, name)
	info, err := os.Stat(p)
	if err != nil || info.IsDir() || !strings.HasPrefix(p, folder+string(filepath.Separator)) {
		return "", notFound("Snapshot %s not found", name)
	}
	return p, nil
}

func remove(p string) error {
	if err := os.Remove(p); err != nil {
		return internal("%v", err)
	}
	_ = os.Remove(p + ".checksum") // there may be none
	return nil
}

// sendFile answers with a snapshot. A single range is honoured, If-Range is not looked at, and If-Match is.
func (r *request) sendFile(p string) {
	f, err := os.Open(p) // #nosec G304: a path that place has checked
	if err != nil {
		r.w.Header()["Content-Type"] = nil // none at all
		r.w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(r.w, "File not found: No such file or directory (os error 2)")
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		r.plain(http.StatusInternalServerError, "Failed to open file: "+err.Error())
		return
	}
	h := r.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	if r.n.c.opts.S3Snapshots {
		_, _ = io.Copy(r.w, f)
		return
	}
	etag := etagOf(info)
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", filepath.Base(p)))
	h.Set("Last-Modified", info.ModTime().UTC().Format(http.TimeFormat))
	h.Set("Etag", etag)
	h.Set("Accept-Ranges", "bytes")
	size := info.Size()
	from, length, status := int64(0), size, http.StatusOK
	if text := r.Header.Get("Range"); text != "" {
		ok := false
		if from, length, ok = parseRange(text, size); !ok {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			r.w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		if r.Header.Get("Accept-Encoding") != "" {
			h.Set("Content-Encoding", "identity")
		}
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+length-1, size))
		if from != 0 || length != size {
			status = http.StatusPartialContent
		}
	}
	if r.preconditions(etag, info.ModTime()) {
		return
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	r.w.WriteHeader(status)
	_, _ = io.Copy(r.w, io.NewSectionReader(f, from, length))
}

func etagOf(info os.FileInfo) string {
	t := info.ModTime()
	return fmt.Sprintf("\"%x:%x:%x:%x\"", inode(info), info.Size(), t.Unix(), t.Nanosecond())
}

// preconditions answers 412 or 304 if the request asks for that.
func (r *request) preconditions(etag string, modified time.Time) bool {
	if want := r.Header.Get("If-Match"); want != "" && want != "*" && !strings.Contains(want, etag) {
		r.w.WriteHeader(http.StatusPreconditionFailed)
		return true
	}
	if since, err := http.ParseTime(r.Header.Get("If-Unmodified-Since")); err == nil && modified.Unix() > since.Unix() {
		r.w.WriteHeader(http.StatusPreconditionFailed)
		return true
	}
	if none := r.Header.Get("If-None-Match"); none == "*" || none != "" && strings.Contains(none, etag) {
		r.w.WriteHeader(http.StatusNotModified)
		return true
	}
	return false
}

// parseRange reads the first range of a Range header.
func parseRange(text string, size int64) (from, length int64, ok bool) {
	spec, found := strings.CutPrefix(text, "bytes=")
	if !found {
		return 0, 0, false
	}
	spec, _, _ = strings.Cut(spec, ",")
	first, last, found := strings.Cut(strings.TrimSpace(spec), "-")
	if !found {
		return 0, 0, false
	}
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n <= 0 || size == 0 {
			return 0, 0, false
		}
		n = min(n, size)
		return size - n, n, true
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 || from >= size {
		return 0, 0, false
	}
	to := size - 1
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil || to < from {
			return 0, 0, false
		}
		to = min(to, size-1)
	}
	return from, to - from + 1, true
}
