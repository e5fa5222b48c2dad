package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
)

// plan is what a restore will do. Making it writes nothing and refuses what the restore would refuse.
type plan struct {
	preview   executors.Preview
	dest      destination
	overwrite bool // Replace was asked for
	only      []string
	parents   map[string]bool // directories above what only selects, by entry path
	promote   map[string]item // content that only a selected hard link needs: path of the content → the link
	folders   map[string]bool // raw paths of directories that the restore needs; true: the target has it already
	need      int64           // bytes of space
	replace   int64
	points    map[uint64]struct{} // hashes of the raw paths of the point, to find what it does not hold; nil when nobody asks
	owners    bool                // some entry belongs to another user
}

// destination is the folder that a restore writes to.
type destination struct {
	path   string
	root   *os.Root // nil when it does not exist yet
	dev    uint64
	filled bool // it holds something
}

func (d destination) close() {
	if d.root != nil {
		d.root.Close()
	}
}

// Preview implements executors.Executor.
func (x *Executor) Preview(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Preview, error) {
	p, err := x.plan(ctx, req, from)
	if err != nil {
		return executors.Preview{}, err
	}
	defer p.dest.close()
	return p.preview, nil
}

// plan decides everything that can be decided without content. The caller closes plan.dest.
func (x *Executor) plan(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (_ *plan, err error) {
	p := &plan{overwrite: req.Replace, promote: map[string]item{}, parents: map[string]bool{}, folders: map[string]bool{".": true}}
	if p.dest, err = openDestination(req.Target.Root, req.Replace); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.dest.close()
		}
	}()
	p.preview.Target = p.dest.path
	if p.only, err = cleanGlobs(req.Only); err != nil {
		return nil, err
	}
	if err := p.choose(ctx, from); err != nil {
		return nil, err
	}
	if p.dest.filled && len(p.only) == 0 {
		p.points = map[uint64]struct{}{}
	}
	if err := from.Entries(ctx, func(e executors.Entry) error { return p.add(e, x.margins.named) }); err != nil {
		return nil, fmt.Errorf("plan restore to %s: %w", p.dest.path, err)
	}
	if err := p.checkSpace(); err != nil {
		return nil, err
	}
	return p, p.note(ctx, from, x.margins.named)
}

// openDestination looks at the target folder. It need not exist; one that holds something is refused without replace.
func openDestination(root string, replace bool) (d destination, err error) {
	if root == "" {
		return d, errors.New("restore files: the target folder is not given")
	}
	if d.path, err = filepath.Abs(root); err != nil {
		return d, fmt.Errorf("restore to %s: %w", root, err)
	}
	st, err := os.Stat(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(d.path); err == nil {
			return d, fmt.Errorf("restore to %s: it is a symlink that leads nowhere: %w", d.path, executors.ErrTargetExists)
		}
		return d, nil
	}
	if err != nil {
		return d, fmt.Errorf("restore to %s: %w", d.path, reason(err))
	}
	if !st.IsDir() {
		return d, fmt.Errorf("restore to %s: it is not a directory: %w", d.path, executors.ErrTargetExists)
	}
	if d.root, err = os.OpenRoot(d.path); err != nil {
		return d, fmt.Errorf("restore to %s: %w", d.path, reason(err))
	}
	names, err := readNames(d.root, ".")
	var dir unix.Stat_t
	if err == nil {
		err = unix.Stat(d.path, &dir)
	}
	d.dev, d.filled = dir.Dev, len(names) > 0
	if err == nil && d.filled && !replace {
		err = fmt.Errorf("%w and is not empty; choose another folder, or replace what is there", executors.ErrTargetExists)
	}
	if err != nil {
		d.root.Close()
		return d, fmt.Errorf("restore to %s: %w", d.path, reason(err))
	}
	return d, nil
}

// choose finds what the globs need beyond what they match: directories above, and content behind hard links.
// A glob that matches nothing is refused: at three in the morning it is a typing error.
func (p *plan) choose(ctx context.Context, from executors.Supply) error {
	if len(p.only) == 0 {
		return nil
	}
	hits := make([]bool, len(p.only))
	err := from.Entries(ctx, func(e executors.Entry) error {
		match := false
		for i, g := range p.only {
			if covers(g, e.Path) {
				hits[i], match = true, true
			}
		}
		if !match {
			return nil
		}
		for d := path.Dir(e.Path); !p.parents[d]; d = path.Dir(d) {
			p.parents[d] = true
		}
		if e.Type != executors.TypeHardlink || p.matches(e.Target) || p.promoted(e.Target) {
			return nil
		}
		raw, err := rawPath(e)
		p.promote[e.Target] = item{e, raw}
		return err
	})
	if err != nil {
		return fmt.Errorf("plan restore to %s: %w", p.dest.path, err)
	}
	for i, hit := range hits {
		if !hit {
			return fmt.Errorf("restore to %s: nothing in the restore point matches %q", p.dest.path, p.only[i])
		}
	}
	return nil
}

func (p *plan) matches(entryPath string) bool {
	for _, g := range p.only {
		if covers(g, entryPath) {
			return true
		}
	}
	return len(p.only) == 0
}

// wants tells whether the restore handles e.
func (p *plan) wants(e executors.Entry) bool {
	if p.matches(e.Path) {
		return true
	}
	return e.Type == executors.TypeDir && p.parents[e.Path] || e.Type == executors.TypeFile && p.promoted(e.Path)
}

// promoted tells whether the content of path, which is not wanted itself, is written under a link's name.
func (p *plan) promoted(entryPath string) bool { return p.promote[entryPath].raw != "" }

// add checks one entry and counts it.
func (p *plan) add(e executors.Entry, named int) error {
	raw, err := rawPath(e)
	if err != nil {
		return err
	}
	if p.points != nil {
		p.points[hashPath(raw)] = struct{}{}
	}
	if !p.wants(e) {
		return nil
	}
	if p.promoted(e.Path) {
		p.count(e) // as an item it is the link that it is written for
		return nil
	}
	switch e.Type {
	case executors.TypeSymlink, executors.TypeHardlink:
		if _, err := rawTarget(e); err != nil {
			return err
		}
	case executors.TypeFile, executors.TypeDir, executors.TypeFIFO:
	default:
		return fmt.Errorf("entry %q: its type %q is not one of files", e.Path, e.Type)
	}
	p.preview.Items++
	p.count(e)
	p.owners = p.owners || e.Type != executors.TypeHardlink && (e.UID != os.Getuid() || e.GID != os.Getgid())
	exists, err := p.look(raw, e.Type == executors.TypeDir)
	if err != nil {
		return err
	}
	switch {
	case !exists:
		p.preview.Creates = appendUpTo(p.preview.Creates, named, e.Path)
	case e.Type != executors.TypeDir:
		p.replace++
		p.preview.Replaces = appendUpTo(p.preview.Replaces, named, e.Path)
	}
	return nil
}

func (p *plan) count(e executors.Entry) {
	if e.Type != executors.TypeFile {
		return
	}
	p.preview.Bytes += e.Size
	if !e.Sparse {
		p.need += e.Size // how much of a sparse file is holes is known only from its content
	}
}

// look tells whether the target already holds raw, and refuses kinds that cannot replace each other. A directory is never
// removed for a file, and a symlink never taken for the directory it points at.
func (p *plan) look(raw string, dir bool) (bool, error) {
	if dir {
		return p.folder(raw)
	}
	if has, err := p.folder(path.Dir(raw)); err != nil || !has {
		return false, err
	}
	if p.dest.root == nil {
		return false, nil
	}
	st, err := p.dest.root.Lstat(raw)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case st.IsDir():
		return false, conflict(raw, "a directory in the target, but not in the restore point")
	}
	return true, nil
}

func (p *plan) folder(raw string) (bool, error) {
	if p.dest.root == nil {
		return false, nil
	}
	if has, known := p.folders[raw]; known {
		return has, nil
	}
	has, err := p.folder(path.Dir(raw))
	if err != nil {
		return false, err
	}
	if has {
		if has, err = p.isFolder(raw); err != nil {
			return false, err
		}
	}
	p.folders[raw] = has
	return has, nil
}

func (p *plan) isFolder(raw string) (bool, error) {
	st, err := p.dest.root.Lstat(raw)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !st.IsDir():
		return false, conflict(raw, "a directory in the restore point, but not in the target")
	}
	if sys, err := statOf(st); err != nil || sys.Dev != p.dest.dev {
		return false, conflict(raw, "on another file system than the target; restore to it on its own")
	}
	return true, nil
}

func conflict(raw, what string) error {
	return fmt.Errorf("%s is %s; move it away or restore elsewhere: %w", escapeName(raw), what, executors.ErrTargetExists)
}

var errNoSpace = errors.New("it does not fit")

// checkSpace refuses a restore that cannot fit: what is replaced stays until the new data is complete, so all of it must.
func (p *plan) checkSpace() error {
	at := p.dest.path
	var st unix.Statfs_t
	err := unix.Statfs(at, &st)
	for errors.Is(err, fs.ErrNotExist) && at != "/" {
		at = filepath.Dir(at)
		err = unix.Statfs(at, &st)
	}
	if err != nil {
		return fmt.Errorf("restore to %s: ask for free space: %w", p.dest.path, err)
	}
	if free := int64(st.Bavail) * st.Bsize; p.need > free {
		return fmt.Errorf("restore to %s: %w: %d bytes are needed and %d are free there; make room or choose another folder",
			p.dest.path, errNoSpace, p.need, free)
	}
	return nil
}
