package basebackup

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/manifest"
)

// reuse copies what is right already from the directory that is replaced. Each file is read once: its checksum is computed while it
// is copied, and a copy of something else is removed again.
func (r *Restoration) reuse(ctx context.Context) error {
	root := r.byOID[""]
	if root.kept == "" {
		return nil
	}
	want := map[string]manifest.File{}
	err := readOne(ctx, r.from, manifestPath, func(in io.Reader) error {
		_, err := manifest.Read(in, func(f manifest.File) error {
			if f.Algorithm != manifest.None {
				want[f.Path] = f
			}
			return nil
		})
		return err
	})
	if err != nil {
		return err
	}
	r.reused = map[string]bool{}
	buf := make([]byte, 1<<20)
	return r.from.Entries(ctx, func(e executors.Entry) error {
		name, ok := inData(e.Path)
		f, listed := want[name]
		oid, rest := spaceOf(name)
		if !ok || !listed || e.Type != executors.TypeFile || f.Size != e.Size || oid != "" || name == controlFile || name == spaceMapFile || name == labelFile {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		same, err := copySame(filepath.Join(root.final, filepath.FromSlash(rest)), r.path(name), e, f, buf)
		if same {
			r.reused[name] = true
			r.Reused += e.Size
		}
		return err
	})
}

// copySame copies a file when it is the one of the manifest. Whatever is wrong with the old one is no error: it is not the same.
func copySame(old, to string, e executors.Entry, want manifest.File, buf []byte) (same bool, err error) {
	info, err := os.Lstat(old)
	if err != nil || !info.Mode().IsRegular() || info.Size() != want.Size {
		return false, nil
	}
	in, err := os.Open(old)
	if err != nil {
		return false, nil
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return false, err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(e.Mode&0o777)|0o600)
	if err != nil {
		return false, err
	}
	check, err := want.Check()
	if err != nil {
		return false, errors.Join(err, out.Close())
	}
	_, err = io.CopyBuffer(io.MultiWriter(out, check), struct{ io.Reader }{in}, buf)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil && check.Finish() == nil {
		return true, nil
	}
	return false, errors.Join(err, os.Remove(to))
}
