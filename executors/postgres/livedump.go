package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strconv"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/archive"
)

// attrSize is the size of a database in bytes, on the entry of a dump whose own size is not known before it was read.
const attrSize = "database_size"

// sizeUnknown is the size of an entry that is made while it is read.
const sizeUnknown = -1

// sizeOf is the size of a dump, about.
func sizeOf(e executors.Entry) int64 {
	if e.Size != sizeUnknown {
		return e.Size
	}
	n, _ := strconv.ParseInt(e.Attrs[attrSize], 10, 64) // written here
	return n
}

// liveDumps is a restore point that is not stored: each of its dumps is made anew whenever it is read, of a server that nobody
// else uses and nobody writes to.
type liveDumps struct {
	b       *backup // how dumps are made
	meta    map[string]string
	entries []executors.Entry
	more    map[string][]string        // by path: arguments that leave out data nobody wants
	heads   map[string][]archive.Entry // by path: what the first dump held
}

var _ executors.Supply = (*liveDumps)(nil)

// openLive lists the databases of a recovered server. only is what will be asked for: a wrong name is told here.
func (x *Executor) openLive(ctx context.Context, c *recoveredServer, only []string, meta map[string]string) (*liveDumps, error) {
	d := &liveDumps{
		b: &backup{srv: c.srv, lockWait: x.lockWait, facts: c.facts}, meta: maps.Clone(meta),
		more: map[string][]string{}, heads: map[string][]archive.Entry{},
	}
	conn, err := c.srv.open(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	if d.b.databases, err = listDatabases(ctx, conn); err != nil {
		return nil, err
	}
	if d.b.dump, err = x.tools.find(ctx, "pg_dump", c.facts.major); err != nil {
		return nil, err
	}
	if d.b.dumpAll, err = x.tools.find(ctx, "pg_dumpall", c.facts.major); err != nil {
		return nil, err
	}
	d.list(c.reached.commit)
	return d, d.narrow(ctx, only)
}

// list makes the entries, as a logical backup would have them.
func (d *liveDumps) list(at time.Time) {
	d.entries = []executors.Entry{{Path: globalsPath, Type: executors.TypeStream, Size: sizeUnknown, ModTime: at}}
	for _, db := range d.b.databases {
		attrs := maps.Clone(db.attrs)
		attrs[attrSize] = strconv.FormatInt(db.size, 10)
		d.entries = append(d.entries, executors.Entry{Path: dumpPath(db.name), Type: executors.TypeStream, Size: sizeUnknown, ModTime: at, Attrs: attrs})
	}
}

// narrow leaves the rows of tables that nobody asked for out of the dumps: one table must not cost its whole database.
func (d *liveDumps) narrow(ctx context.Context, only []string) error {
	paths := map[string]string{}
	for _, db := range d.b.databases {
		paths[db.name] = dumpPath(db.name)
	}
	c, err := choose(only, paths, true)
	if err != nil {
		return err
	}
	for i := range d.entries {
		e := &d.entries[i]
		name := e.Attrs[attrDatabase]
		if c.parts[name] == nil {
			continue
		}
		size, without, err := d.unwanted(ctx, name, c.parts[name])
		if err != nil {
			return fmt.Errorf("list the tables of %q: %w", name, err)
		}
		e.Attrs[attrSize] = strconv.FormatInt(size, 10)
		d.more[e.Path] = append(without, "--no-blobs")
	}
	return nil
}

// maxArguments bounds the bytes of arguments; systems take 2 MiB or more.
const maxArguments = 1 << 20

// unwanted returns the size in bytes of the tables that patterns select, with partitions of selected tables, and arguments that
// leave out the rows of all others.
func (d *liveDumps) unwanted(ctx context.Context, database string, patterns []partPattern) (size int64, args []string, err error) {
	conn, err := d.b.srv.openDatabase(ctx, database)
	if err != nil {
		return 0, nil, err
	}
	defer closeConn(ctx, conn)
	rows, err := conn.Query(ctx, `select n.nspname, c.relname, pg_table_size(c.oid), array(
			select an.nspname || '.' || a.relname from pg_partition_ancestors(c.oid) p join pg_class a on a.oid = p.relid join pg_namespace an on an.oid = a.relnamespace)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2`)
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	length := 0
	for rows.Next() {
		var schema, table string
		var bytes int64
		var above []string
		if err := rows.Scan(&schema, &table, &bytes, &above); err != nil {
			return 0, nil, err
		}
		if anyMatches(patterns, append(above, schema+"."+table)) {
			size += bytes
			continue
		}
		args = append(args, "--exclude-table-data="+ident(schema, table))
		length += len(args[len(args)-1]) + 1
	}
	if length > maxArguments {
		args = nil
	}
	return size, args, rows.Err()
}

func anyMatches(patterns []partPattern, names []string) bool {
	for _, p := range patterns {
		for _, n := range names {
			if p.glob.Match(n) {
				return true
			}
		}
	}
	return false
}

// Meta implements executors.Supply.
func (d *liveDumps) Meta() map[string]string { return d.meta }

// Entries implements executors.Supply.
func (d *liveDumps) Entries(ctx context.Context, each func(executors.Entry) error) error {
	for _, e := range d.entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return nil
}

// Read implements executors.Supply.
func (d *liveDumps) Read(ctx context.Context, want func(executors.Entry) bool, each func(executors.Entry, io.Reader) error) error {
	return d.Entries(ctx, func(e executors.Entry) error {
		if want != nil && !want(e) {
			return nil
		}
		t, args, magic := d.b.dumpAll, d.b.globalsArgs(), ""
		if name := e.Attrs[attrDatabase]; name != "" {
			t, args, magic = d.b.dump, append(d.b.dumpArgs(name, ""), d.more[e.Path]...), archiveMagic
		}
		out := &programOutput{ctx: ctx, child: newChild(ctx, d.b.srv, t, args...), magic: magic}
		defer out.Close()
		err := d.read(e, out, each)
		if cause := out.failure(); cause != nil {
			return fmt.Errorf("dump %s of the recovered server: %w", e.Path, cause)
		}
		return err
	})
}

func (d *liveDumps) read(e executors.Entry, out *programOutput, each func(executors.Entry, io.Reader) error) error {
	r, err := out.open()
	if err != nil {
		return err
	}
	if out.magic == "" {
		return each(e, r)
	}
	front := &bytes.Buffer{}
	head, err := archive.ReadHead(io.TeeReader(r, front))
	if err != nil {
		return fmt.Errorf("read %s: %w", e.Path, err)
	}
	// What is restored is chosen by numbers out of an earlier dump.
	if before, ok := d.heads[e.Path]; ok && !reflect.DeepEqual(before, head.Entries) {
		return errors.New("the recovered server changed between two dumps of " + e.Path)
	}
	d.heads[e.Path] = head.Entries
	return each(e, io.MultiReader(front, r))
}
