package basebackup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"unicode/utf8"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
)

// tree hands over everything but what is read last.
func (l *local) tree() error {
	spaces, err := l.req.Dir.spaces() // after the start: none that the server's map names is missed
	if err != nil {
		return err
	}
	if err := l.folder("."); err != nil {
		return err
	}
	for _, oid := range spaces {
		name := path.Join(spacesDir, strconv.FormatUint(uint64(oid), 10))
		info, err := os.Stat(l.disk(path.Join(name, l.req.Dir.version())))
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile, which recovery will do again
		}
		if err != nil {
			return at(err)
		}
		l.spaces[oid] = true
		if err := l.dir(path.Join(name, l.req.Dir.version()), info); err != nil {
			return err
		}
	}
	return nil
}

// folder hands over what is in a folder. One that vanishes is of a database that was dropped.
func (l *local) folder(name string) error {
	entries, err := os.ReadDir(l.disk(name))
	if errors.Is(err, fs.ErrNotExist) && name != "." {
		return nil
	}
	if err != nil {
		return at(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	unlogged := pgdata.FindUnlogged(names)
	for _, e := range entries {
		within := path.Join(name, e.Name())
		rel, isRel := pgdata.ParseRelFile(within)
		if pgdata.Excluded(within) || isRel && unlogged.Excludes(rel) || within == controlFile || name == spacesDir {
			continue
		}
		if err := l.visit(within, e); err != nil {
			return err
		}
	}
	return nil
}

func (l *local) visit(name string, e fs.DirEntry) error {
	if err := l.alive(); err != nil {
		return err
	}
	info, err := e.Info()
	if err == nil && info.Mode()&fs.ModeSymlink != 0 && pgdata.Excluded(name+"/content") {
		info, err = os.Stat(l.disk(name)) // a folder that is kept empty may be on another disk, as pg_wal often is
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return at(err)
	}
	if !utf8.ValidString(name) {
		l.problem(path.Join(dataDir, fmt.Sprintf("%+q", name)), true, errors.New("its name is not UTF-8: it is none of PostgreSQL's files, move it out of the data directory"))
		return nil
	}
	switch {
	case info.IsDir():
		return l.dir(name, info)
	case info.Mode().IsRegular():
		return l.file(name, info)
	case info.Mode()&fs.ModeSymlink != 0:
		l.problem(path.Join(dataDir, name), false, errors.New("it is a link, which no base backup holds: back up what it leads to by a backup of files"))
	}
	return nil
}

func (l *local) dir(name string, info fs.FileInfo) error {
	l.result.Items++
	e := executors.Entry{Path: dataDir + "/" + name, Type: executors.TypeDir, Mode: uint32(info.Mode().Perm()), ModTime: info.ModTime().UTC()}
	if err := l.sink.Add(l.ctx, e, executors.Content{}); err != nil {
		return err
	}
	return l.folder(name)
}

func (l *local) file(name string, info fs.FileInfo) error {
	f := &localFile{l: l, name: name, size: info.Size(), mode: uint32(info.Mode().Perm()), modified: info.ModTime().UTC(), print: l.trust.fingerprint(name, info)}
	l.files = append(l.files, f)
	return l.hand(f)
}

// hand gives a file to the sink.
func (l *local) hand(f *localFile) error {
	e := executors.Entry{Path: dataDir + "/" + f.name, Type: executors.TypeFile, Mode: f.mode, ModTime: f.modified}
	return l.sink.Add(l.ctx, e, executors.Content{Open: f.open, SizeHint: f.size, Fingerprint: f.print})
}

func (l *local) problem(path string, missing bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Problems = append(l.result.Problems, executors.Problem{Path: path, Err: err, Missing: missing})
}

// report brings what the readers found into the document.
func (l *local) report() {
	doc := &l.result.Document
	for _, f := range l.files {
		if f.state == fileGone {
			continue
		}
		l.result.Items++
		if f.state == fileRead {
			l.result.Bytes += f.size
		}
		for _, text := range f.damage() {
			if doc.Damaged = append(doc.Damaged, text); len(doc.Damaged) <= maxDamaged {
				l.problem(dataDir+"/"+f.name, false, errors.New(text))
			}
		}
	}
}
