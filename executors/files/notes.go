package files

import (
	"context"
	"fmt"
	"hash/maphash"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
)

// note adds what a person should know before saying yes.
func (p *plan) note(ctx context.Context, from executors.Supply, named int) error {
	if root := from.Meta()["root"]; root != "" {
		p.preview.Notes = append(p.preview.Notes, "read from "+root)
	}
	if p.replace > 0 {
		p.preview.Notes = append(p.preview.Notes, fmt.Sprintf("replaces %d existing files", p.replace))
	}
	if p.owners && os.Geteuid() != 0 {
		p.preview.Notes = append(p.preview.Notes, ownersNote)
	}
	n, first, err := p.extras(ctx, named)
	if n > 0 {
		p.preview.Notes = append(p.preview.Notes, extrasNote(n, first))
	}
	return err
}

const ownersNote = "owners and groups are not restored: that takes root"

func extrasNote(n int, first []string) string {
	s := fmt.Sprintf("%d existing items are not in the restore point and stay: %s", n, strings.Join(first, ", "))
	if n > len(first) {
		s += ", …"
	}
	return s
}

// extras finds what the target holds and the point does not; of a directory that is all extra, only itself.
func (p *plan) extras(ctx context.Context, named int) (n int, first []string, err error) {
	if p.points == nil {
		return 0, nil, nil
	}
	err = p.extrasIn(ctx, ".", func(raw string) {
		n++
		first = appendUpTo(first, named, escapeName(raw))
	})
	return n, first, err
}

// extrasIn walks by hand: the FS of an os.Root knows only names that are UTF-8.
func (p *plan) extrasIn(ctx context.Context, dir string, found func(string)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	names, err := readNames(p.dest.root, dir)
	if err != nil {
		return fmt.Errorf("look at %s in the target: %w", escapeName(dir), reason(err))
	}
	slices.Sort(names)
	for _, n := range names {
		raw := join(dir, n)
		if _, held := p.points[hashPath(raw)]; !held {
			found(raw)
			continue
		}
		st, err := p.dest.root.Lstat(raw)
		if err == nil && st.IsDir() {
			err = p.extrasIn(ctx, raw, found)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pathSeed is per process: nobody outside can choose names that collide.
var pathSeed = maphash.MakeSeed()

func hashPath(raw string) uint64 { return maphash.String(pathSeed, raw) }

func appendUpTo(list []string, n int, s string) []string {
	if len(list) < n {
		list = append(list, s)
	}
	return list
}
