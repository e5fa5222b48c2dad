package qdrantserver

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// createFullSnapshot makes a snapshot of each collection and one archive of them all. The single ones are moved into it;
// what stays are their checksums.
func (r *request) createFullSnapshot() {
	r.waitOr(func() (any, error) {
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		c := r.n.c
		c.mu.Lock()
		names, aliases := slices.Sorted(maps.Keys(c.collections)), maps.Clone(c.aliases)
		c.mu.Unlock()
		made := map[string]string{}
		for _, name := range names {
			d, err := r.n.makeSnapshot(name)
			if err != nil {
				return nil, err
			}
			made[name] = d.Name
		}
		name := fmt.Sprintf("full-snapshot-%s.snapshot", time.Now().UTC().Format(snapshotTime))
		return r.n.keep(r.n.folder(""), name, func(w io.Writer) error {
			t := &tarWriter{w: w}
			for collection, snapshot := range made {
				place := filepath.Join(r.n.folder(collection), snapshot)
				data, err := os.ReadFile(place) // #nosec G304: made above
				if err != nil {
					return err
				}
				t.bytes(snapshot, data)
				if err := os.Remove(place); err != nil {
					return err
				}
			}
			t.bytes("config.json", encode(object{"collections_mapping": made, "collections_aliases": aliases}))
			return t.finish()
		})
	})
}

func (r *request) listFullSnapshots() { r.answer(r.n.list(r.n.folder(""))) }

func (r *request) downloadFullSnapshot() {
	p, err := place(r.n.folder(""), r.args[0])
	if err != nil {
		r.failPlain(err)
		return
	}
	r.sendFile(p)
}

func (r *request) deleteFullSnapshot() {
	r.waitOr(func() (any, error) {
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		p, err := place(r.n.folder(""), r.args[0])
		if err != nil {
			return nil, err
		}
		return true, remove(p)
	})
}
