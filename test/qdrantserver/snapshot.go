package qdrantserver

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// busy lets one snapshot of each of these replicas run at a time and shows the collection as yellow meanwhile.
func (c *Cluster) busy(reps []*replica, work func()) {
	for _, rep := range reps {
		rep.snapshot.Lock()
		defer rep.snapshot.Unlock()
	}
	c.mu.Lock()
	for _, rep := range reps {
		rep.snapshots++
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rep := range reps {
			rep.snapshots--
		}
	}()
	work()
}

// createSnapshot makes a snapshot of everything that this node has of a collection.
func (r *request) createSnapshot() {
	r.waitOr(func() (any, error) {
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		return r.n.makeSnapshot(r.args[0])
	})
}

func (n *node) makeSnapshot(asked string) (*description, error) {
	c := n.c
	var col *collection
	var reps []*replica
	_, err := c.locked(func() (any, error) {
		found, err := c.find(asked)
		if err != nil {
			return nil, err
		}
		col = found
		for _, s := range found.sortedShards() {
			rep := s.replicas[n.peer]
			if rep == nil {
				continue
			}
			if rep.local == nil {
				return nil, noSnapshot(rep)
			}
			reps = append(reps, rep)
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	n.creating.add(col.name, 1)
	defer n.creating.add(col.name, -1)
	name := fmt.Sprintf("%s-%d-%s.snapshot", col.name, n.peer, time.Now().UTC().Format(snapshotTime))
	var made *description
	c.busy(reps, func() {
		c.mu.Lock()
		img := col.freeze(n.peer, c.distributed())
		c.mu.Unlock()
		made, err = n.keep(n.folder(col.name), name, img.write)
	})
	if err == nil {
		n.created.add(col.name, 1)
	}
	return made, err
}

func (r *request) listSnapshots() {
	name, err := r.realName()
	if err != nil {
		r.fail(err)
		return
	}
	r.answer(r.n.list(r.n.folder(name)))
}

// realName is the name of the collection that the path names, perhaps by an alias.
func (r *request) realName() (string, error) {
	name, err := r.n.c.locked(func() (any, error) {
		col, err := r.n.c.find(r.args[0])
		if err != nil {
			return "", err
		}
		return col.name, nil
	})
	return name.(string), err
}

func (r *request) downloadSnapshot() {
	name, err := r.realName()
	if err != nil {
		r.failPlain(err)
		return
	}
	p, err := place(r.n.folder(name), r.args[1])
	if err != nil {
		r.failPlain(err)
		return
	}
	r.sendFile(p)
}

func (r *request) deleteSnapshot() {
	r.waitOr(func() (any, error) {
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		name, err := r.realName()
		if err != nil {
			return nil, err
		}
		p, err := place(r.n.folder(name), r.args[1])
		if err != nil {
			return nil, err
		}
		return true, remove(p)
	})
}

// shardArg reads the number of a shard from the path.
func (r *request) shardArg() (uint32, error) {
	id, err := strconv.ParseUint(r.args[1], 10, 32)
	if err != nil {
		return 0, fail(kindFormat, "Deserialize error in path parameters: can not parse \"%s\" to a u32", r.args[1])
	}
	return uint32(id), nil
}

// localShard finds a shard of which this node must have a replica.
func (r *request) localShard(proxy string) (*collection, *shard, *replica, error) {
	id, err := r.shardArg()
	if err != nil {
		return nil, nil, nil, err
	}
	c := r.n.c
	c.mu.Lock()
	defer c.mu.Unlock()
	col, err := c.find(r.args[0])
	if err != nil {
		return nil, nil, nil, err
	}
	s := col.shards[id]
	if s == nil {
		return nil, nil, nil, notFound("shard %d not found", id)
	}
	rep := s.replicas[r.n.peer]
	if rep == nil || rep.local == nil && rep.broken == "" {
		return nil, nil, nil, badInput("Shard %d is not a %s shard", id, proxy)
	}
	return col, s, rep, nil
}

const (
	localOnly    = "local"
	localOrProxy = "local or queue proxy"
)

func (r *request) createShardSnapshot() {
	r.waitOr(func() (any, error) {
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		col, s, rep, err := r.localShard(localOrProxy)
		if err != nil {
			return nil, err
		}
		r.n.creating.add(col.name, 1)
		defer r.n.creating.add(col.name, -1)
		name := fmt.Sprintf("%s-shard-%d-%s.snapshot", col.name, s.id, time.Now().UTC().Format(snapshotTime))
		var made *description
		r.n.c.busy([]*replica{rep}, func() {
			var img *shardImage
			if img, err = r.n.shardImage(col, s, rep); err != nil {
				return
			}
			made, err = r.n.keep(r.n.folder(col.name, shardFolder(s.id)...), name, func(w io.Writer) error {
				t := &tarWriter{w: w}
				img.write(t, "", false, false)
				return t.finish()
			})
		})
		if err == nil {
			r.n.created.add(col.name, 1)
		}
		return made, err
	})
}

func noSnapshot(rep *replica) error {
	return internal("Failed to get_snapshot_creator,  %s", rep.broken)
}

func (n *node) shardImage(col *collection, s *shard, rep *replica) (*shardImage, error) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	if rep.local == nil {
		return nil, noSnapshot(rep)
	}
	return s.freeze(n.peer, col.indexed(), n.c.distributed()), nil
}

// streamShard answers with a snapshot that no file was made for. It has no length, and whoever reads it learns from its
// end alone whether it is whole.
func (r *request) streamShard() {
	err := r.role.mayWrite()
	var col *collection
	var s *shard
	var rep *replica
	if err == nil {
		col, s, rep, err = r.localShard(localOrProxy)
	}
	if err != nil {
		r.failStream(err)
		return
	}
	r.n.creating.add(col.name, 1)
	defer r.n.creating.add(col.name, -1)
	r.n.c.busy([]*replica{rep}, func() {
		img, err := r.n.shardImage(col, s, rep)
		if err != nil {
			r.failPlain(err)
			return
		}
		name := fmt.Sprintf("%s-shard-%d-%s.snapshot", col.name, s.id, time.Now().UTC().Format(snapshotTime))
		r.w.Header().Set("Content-Type", "application/octet-stream")
		r.w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
		r.w.WriteHeader(http.StatusOK)
		t := &tarWriter{w: r.w}
		img.write(t, "", true, false)
		_ = t.finish() // an error here ends the body, and that is all the client sees of it
		r.w.(http.Flusher).Flush()
	})
}

func (r *request) listShardSnapshots() {
	col, s, _, err := r.localShard(localOnly)
	if err != nil {
		r.fail(err)
		return
	}
	r.answer(r.n.list(r.n.folder(col.name, shardFolder(s.id)...)))
}

func (r *request) downloadShardSnapshot() {
	p, err := r.shardSnapshot(r.args[2])
	if err != nil {
		r.failStream(err)
		return
	}
	r.sendFile(p)
}

// shardSnapshot is where a snapshot of a shard would be.
func (r *request) shardSnapshot(name string) (string, error) {
	col, s, _, err := r.localShard(localOrProxy)
	if err != nil {
		return "", err
	}
	if filepath.Base(name) != name {
		return "", notFound("Snapshot %s not found", name)
	}
	return filepath.Join(r.n.folder(col.name, shardFolder(s.id)...), name), nil
}

func (r *request) deleteShardSnapshot() {
	r.waitOr(func() (any, error) {
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		p, err := r.shardSnapshot(r.args[2])
		if err != nil {
			return nil, err
		}
		if _, err := os.Stat(p); err != nil {
			return nil, notFound("Snapshot %q not found", p)
		}
		return true, remove(p)
	})
}
