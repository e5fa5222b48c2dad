// Package files backs up a tree of files with its metadata and brings it back.
//
// It is not a synchroniser and no snapshot: each file is consistent in itself (or reported), the tree is read while others
// use it. It knows nothing of stores. Two invariants: a backup never reads outside its root, whatever is swapped in while
// it walks; a restore never writes outside its target, whatever the point says, and puts nothing in place before every
// byte of the point was read and written beside it. docs/files.md tells users the rules. Linux only.
package files

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// Executor implements executors.Executor for policy.KindFiles. It has no state; methods may be called concurrently.
type Executor struct {
	margins margins
}

var _ executors.Executor = (*Executor)(nil)

// margins are the safety margins of the package.
type margins struct {
	// racy is how old a file's last change must be before its fingerprint counts. Time stamps are as coarse as the kernel's
	// tick, or 2 s on some file systems: a file changed twice within one tick looks the same twice.
	racy time.Duration
	// rereads is how often a file that changed while it was read is read again before it is stored as it came.
	rereads int
	// named is how many paths a preview or a note names.
	named int
}

// New makes the executor.
func New() *Executor {
	return &Executor{margins: margins{racy: 2 * time.Second, rereads: 2, named: 10}}
}

// Inspect counts what a backup would read: items and bytes, without reading content.
func (x *Executor) Inspect(ctx context.Context, src policy.Source) (executors.Facts, error) {
	root, w, err := x.openTree(ctx, src)
	if err != nil {
		return executors.Facts{}, err
	}
	defer root.Close()
	var items, size int64
	w.emit = func(f found) error {
		items++
		if f.entry.Type == executors.TypeFile {
			size += f.stat.Size
		}
		return nil
	}
	w.lookOnly = true
	if err := w.walk(root); err != nil {
		return executors.Facts{}, err
	}
	return executors.Facts{Size: size, Extra: map[string]string{"items": fmt.Sprint(items), "root": src.Files.Path()}}, nil
}

// openTree opens a source's root and prepares the walk of it. Errors name the root.
func (x *Executor) openTree(ctx context.Context, src policy.Source) (*os.File, *walker, error) {
	if src.Files == nil {
		return nil, nil, fmt.Errorf("read %s: it is not a source of files", src.Address)
	}
	filter, err := newFilter(src.Files.Include, src.Files.Exclude)
	if err != nil {
		return nil, nil, err
	}
	// O_DIRECTORY: opening a FIFO or a device by accident would hang or worse.
	root, err := os.OpenFile(src.Files.Path(), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open root of %s: %w", src.Address, err)
	}
	return root, &walker{
		ctx: ctx, filter: filter, oneFileSystem: src.Files.OneFileSystem,
		problems: &problems{}, links: newLinks(), names: newNames(),
	}, nil
}

func logger(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// problems collects what went wrong from the walk and from readers on other goroutines.
type problems struct {
	mu   sync.Mutex
	list []executors.Problem
}

func (p *problems) add(path string, missing bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, executors.Problem{Path: path, Missing: missing, Err: err})
}
