package qdrantserver

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxMember bounds what one member may claim to be; archives come from tests.
const maxMember = 1 << 30

// unpack reads an archive into memory. Like Qdrant it takes only files, directories and sparse files, refuses a member
// that comes twice, and does not miss the end marker.
func unpack(r io.Reader) (map[string]*file, error) {
	files := map[string]*file{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, says("Malformed tar archive, reached unknown entry")
		}
		name := path.Clean(h.Name)
		if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
			continue // left out without a word
		}
		switch h.Typeflag {
		case tar.TypeDir:
			files[name+"/"] = &file{}
			continue
		case tar.TypeReg, tar.TypeGNUSparse:
		default:
			return nil, says("Forbidden entry type in tar archive: %q", h.Typeflag)
		}
		if files[name] != nil {
			return nil, fmt.Errorf("failed to unpack `%s`: File exists (os error 17)", name)
		}
		if h.Size > maxMember {
			return nil, fmt.Errorf("member %s claims %d bytes", name, h.Size)
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("failed to unpack `%s`: %w", name, err)
		}
		f := &file{data: data, size: h.Size, mtime: h.ModTime, solid: true}
		if h.Typeflag == tar.TypeGNUSparse {
			f.data, f.solid = bytes.Clone(bytes.TrimRight(data, "\x00")), false
		}
		files[name] = f
	}
}

// below are the files of a folder, by their name in it.
func below(files map[string]*file, folder string) map[string]*file {
	found := map[string]*file{}
	for name, f := range files {
		if rest, ok := strings.CutPrefix(name, folder+"/"); ok {
			found[rest] = f
		}
	}
	return found
}

// shardSegments are the segments of an unpacked shard, each as a folder of files; nested archives are unpacked.
func shardSegments(files map[string]*file) (map[string]map[string]*file, error) {
	segments := map[string]map[string]*file{}
	for name, f := range below(files, "segments") {
		id, rest, nested := strings.Cut(name, "/")
		if !nested {
			inner, ok := strings.CutSuffix(id, ".tar")
			if !ok {
				continue
			}
			unpacked, err := unpack(bytes.NewReader(padded(f)))
			if err != nil {
				return nil, err
			}
			if segments[inner] != nil {
				return nil, fmt.Errorf("segment %s comes twice", inner)
			}
			segments[inner] = below(unpacked, "snapshot/files")
			continue
		}
		inFiles, ok := strings.CutPrefix(rest, "files/")
		if !ok {
			continue
		}
		if segments[id] == nil {
			segments[id] = map[string]*file{}
		}
		segments[id][inFiles] = f
	}
	return segments, nil
}

// padded is the whole content of a file.
func padded(f *file) []byte {
	data := make([]byte, f.size)
	copy(data, f.data)
	return data
}
