package basebackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
)

// fileState is what became of a file.
type fileState int

const (
	fileUnread fileState = iota // at the end: recognised
	fileRead
	fileGone  // vanished before it was opened: recovery knows why
	fileAgain // dropped by its reader, to be read once more without being recognised later
)

// localFile is one file that is handed over. A reader owns it from open until its end; the sink's Flush orders that before what
// follows.
type localFile struct {
	l        *local
	name     string // within the data directory
	held     []byte // its content, where that is not on the disk
	exact    bool   // it must have size bytes: a WAL segment
	size     int64
	mode     uint32
	modified time.Time
	print    []byte

	state fileState
	crc   uint32
	bad   []uint32 // damaged blocks, the first few
	more  int      // further ones
}

// Limits of reading one file.
const (
	readBlock   = 32 * pgdata.PageSize
	maxBad      = 5 // blocks of one file that are named, as the server does
	tornTries   = 5
	tornPause   = 2 * time.Millisecond
	readAdvised = 1 << 20 // files from this size are worth an advice to the kernel
)

// errVanished says that a file is none any more.
var errVanished = fmt.Errorf("it vanished: %w", executors.ErrSkip)

// open is an executors.OpenFunc.
func (f *localFile) open() (io.ReadCloser, error) {
	f.crc, f.bad, f.more = 0, nil, 0
	r := &localReader{f: f}
	if f.held != nil {
		r.limit, r.from = int64(len(f.held)), bytes.NewReader(f.held)
		return r, nil
	}
	file, err := openFile(f.l.disk(f.name))
	if errors.Is(err, fs.ErrNotExist) && !f.exact {
		f.state = fileGone
		return nil, errVanished
	}
	if err != nil {
		return nil, at(err)
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = file.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is no regular file any more", file.Name()))
	}
	r.file, r.from, r.limit = file, file, info.Size()
	if f.exact && r.limit != f.size {
		_ = file.Close()
		return nil, fmt.Errorf("%s has %d bytes and not %d", file.Name(), r.limit, f.size)
	}
	rel, ok := pgdata.ParseRelFile(f.name)
	r.pages, r.block = ok && f.l.req.Dir.Control.ChecksumVersion != 0, rel.FirstBlock()
	return r, nil
}

// localReader reads a file up to the size that it had when it was opened: what is added later is in the WAL, and what is cut off
// meanwhile ends it.
type localReader struct {
	f     *localFile
	file  *os.File // nil for content in memory
	from  io.ReaderAt
	limit int64
	at    int64 // of the next block
	buf   []byte
	rest  []byte // of buf, not handed out yet
	pages bool
	block uint32 // number of the first page of the file in its relation
}

func (r *localReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// fill reads the next block, and gives the end of the file back as a sink expects it.
func (r *localReader) fill() error {
	if r.f.l.ctx.Err() != nil {
		return context.Cause(r.f.l.ctx)
	}
	if r.buf == nil {
		r.buf = make([]byte, min(r.limit, readBlock))
	}
	want := min(int64(len(r.buf)), r.limit-r.at)
	if want == 0 {
		return r.finish()
	}
	n, err := r.from.ReadAt(r.buf[:want], r.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if int64(n) < want {
		r.limit = r.at + int64(n) // cut off meanwhile
		if r.f.exact {
			return fmt.Errorf("%s was cut off while it was read", r.f.name)
		}
		if n == 0 {
			return r.finish()
		}
	}
	r.rest = r.buf[:n]
	if r.pages {
		if err := r.check(r.rest); err != nil {
			return err
		}
	}
	r.f.crc = crc32.Update(r.f.crc, castagnoli, r.rest)
	r.at += int64(n)
	if pace := r.f.l.req.Pace; pace != nil {
		return pace(r.f.l.ctx, n)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// check judges the whole pages of a block. A last piece that is none was being added.
func (r *localReader) check(data []byte) error {
	for at := 0; at+pgdata.PageSize <= len(data); at += pgdata.PageSize {
		page := (*pgdata.Page)(data[at:])
		block := r.block + uint32((r.at+int64(at))/pgdata.PageSize)
		bad, err := r.damaged(page, block, r.at+int64(at))
		if err != nil {
			return err
		}
		if bad {
			r.f.found(block)
		}
	}
	return nil
}

// damaged judges one page. One whose checksum is wrong may have been read while it was written, so it is read again: then it is
// whole, or says that recovery will write it.
func (r *localReader) damaged(page *pgdata.Page, block uint32, offset int64) (bool, error) {
	for try := 0; ; try++ {
		if pgdata.CheckPage(page, block, r.f.l.start) != pgdata.PageBad {
			return false, nil
		}
		if try == tornTries {
			return true, nil
		}
		select {
		case <-time.After(time.Duration(try) * tornPause):
		case <-r.f.l.ctx.Done():
			return false, context.Cause(r.f.l.ctx)
		}
		var again pgdata.Page
		if n, err := r.from.ReadAt(again[:], offset); n < len(again) {
			if errors.Is(err, io.EOF) {
				return false, nil // the page is not there any more
			}
			return false, err
		}
		*page = again
	}
}

// found notes a damaged block.
func (f *localFile) found(block uint32) {
	if len(f.bad) < maxBad {
		f.bad = append(f.bad, block)
	} else {
		f.more++
	}
}

// damage says what is damaged.
func (f *localFile) damage() []string {
	var out []string
	for _, block := range f.bad {
		out = append(out, fmt.Sprintf("block %d of the relation in %s: its checksum is wrong", block, f.name))
	}
	if f.more > 0 {
		out = append(out, fmt.Sprintf("%d more blocks of the relation in %s: their checksums are wrong", f.more, f.name))
	}
	return out
}

func (r *localReader) finish() error {
	if len(r.f.bad) > 0 && len(r.f.print) > 0 {
		r.f.state = fileAgain
		return fmt.Errorf("%s is damaged and is read again: %w", r.f.name, executors.ErrSkip)
	}
	r.f.state, r.f.size = fileRead, r.at
	return io.EOF
}

// Close implements io.Closer.
func (r *localReader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
