package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// List walks the folders that can hold the prefix, in byte order of the objects' names.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	start := "."
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		start = prefix[:i]
		// Names always pass the check, so no object can begin with a prefix whose folder does not.
		if blob.CheckName(start) != nil {
			return context.Cause(ctx)
		}
	}
	w := walk{bucket: b, prefix: prefix, fn: fn}
	err := w.folder(ctx, start)
	if w.stopped != nil {
		return w.stopped
	}
	if err != nil {
		return fail("list", prefix, err)
	}
	return nil
}

type walk struct {
	bucket  *Bucket
	prefix  string
	fn      func(blob.Info) error
	stopped error // what fn returned
}

// folder visits one folder. It is read whole: a store spreads its objects over many folders, and the order of the file
// system is none.
func (w *walk) folder(ctx context.Context, path string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	d, err := w.bucket.root.Open(path)
	if isAbsent(err) && path != "." {
		return nil
	}
	if err != nil {
		return hideAbsence(err)
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		if isAbsent(err) {
			return nil // not a folder: the prefix runs through an object
		}
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortKey(a), sortKey(b)) })
	for _, e := range entries {
		if err := w.entry(ctx, path, e); err != nil {
			return err
		}
	}
	return nil
}

// sortKey makes the order of one folder the order of full names: what is inside the folder "a" begins with "a/", which
// sorts after "a-b" and before "a0".
func sortKey(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (w *walk) entry(ctx context.Context, path string, e fs.DirEntry) error {
	name := e.Name()
	if path != "." {
		name = path + "/" + name
	}
	if checkName(name) != nil {
		return nil // temporary files, lost+found, and whatever else can be no object
	}
	switch {
	case e.IsDir():
		if inside := name + "/"; !strings.HasPrefix(inside, w.prefix) && !strings.HasPrefix(w.prefix, inside) {
			return nil
		}
		return w.folder(ctx, name)
	case !strings.HasPrefix(name, w.prefix):
		return nil
	case !e.Type().IsRegular():
		// Passing it over in silence would hide whatever somebody keeps behind a symbolic link.
		return fmt.Errorf("%s is neither a file nor a folder (%s); move what it stands for into the store", name, e.Type())
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted since the folder was read
	}
	if err != nil {
		return err
	}
	if err := w.fn(blob.Info{Name: name, Size: info.Size(), ModTime: info.ModTime().UTC()}); err != nil {
		w.stopped = err
		return err
	}
	return nil
}
