package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
)

// readAhead is the size from which a file is worth an advice to the kernel.
const readAhead = 1 << 20

// source opens and reads the content of one file, and judges whether it held still.
type source struct {
	ctx      context.Context
	root     *os.File
	path     string // for people
	raw      string
	links    *group // nil for a file with one name
	problems *problems
	rereads  int
	bytes    *atomic.Int64
	skipped  *atomic.Int64
	tries    int
}

// open is an executors.OpenFunc.
func (s *source) open() (io.ReadCloser, error) {
	fd, st, err := s.openAny()
	if err != nil {
		return nil, s.skip(err)
	}
	if st.Size >= readAhead {
		// Advice only, so errors do not matter. NOREUSE keeps our single pass from pushing out pages that production uses;
		// DONTNEED would do the opposite and drop them (docs/decisions/0061).
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_SEQUENTIAL)
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_NOREUSE)
	}
	return &reader{source: s, fd: fd, before: st}, nil
}

// errReplaced is not a kind of vanishing: the name holds something, and the point does not.
var errReplaced = errors.New("it was replaced by another file while the tree was being read")

// openAny opens the file. One with several names must still be that file, because the other names' entries point at this
// content; where the first name is gone or taken over, another serves.
func (s *source) openAny() (int, unix.Stat_t, error) {
	if s.links == nil {
		return openRegular(s.root, s.raw)
	}
	var first error
	for i := 0; ; i++ {
		raw, ok, dangling := s.links.name(i)
		if !ok {
			for _, path := range dangling {
				reportUnread(s.problems, path, first)
			}
			return -1, unix.Stat_t{}, first
		}
		fd, st, err := openRegular(s.root, raw)
		if err == nil {
			if (inode{st.Dev, st.Ino}) == s.links.id {
				return fd, st, nil
			}
			unix.Close(fd)
			err = errReplaced
		}
		if first == nil {
			first = err
		}
	}
}

func openRegular(root *os.File, raw string) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	fd, err := openBelow(root, raw)
	if err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errOtherKind
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// skip reports the file and tells the sink to leave it out.
func (s *source) skip(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("read %s: the backup has ended: %w", s.path, err)
	}
	s.skipped.Add(1)
	reportUnread(s.problems, s.path, err)
	return fmt.Errorf("read %s: %w: %w", s.path, err, executors.ErrSkip)
}

// reader reads a file up to the size it had when opened: a log that grows faster than it is read still ends.
type reader struct {
	*source
	fd     int
	before unix.Stat_t
	n      int64
}

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	if left := r.before.Size - r.n; int64(len(p)) > left {
		p = p[:left]
	}
	if len(p) == 0 {
		return 0, r.finish()
	}
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, r.skip(err)
		case n == 0:
			return 0, r.finish()
		}
		r.n += int64(n)
		return n, nil
	}
}

// finish answers io.EOF for content that held still or was read often enough, ErrReread otherwise.
func (r *reader) finish() error {
	var after unix.Stat_t
	if err := unix.Fstat(r.fd, &after); err != nil {
		return r.skip(err)
	}
	if r.n != r.before.Size || !sameContent(&r.before, &after) {
		if r.tries < r.rereads {
			r.tries++
			return executors.ErrReread
		}
		r.problems.add(r.path, false, fmt.Errorf("changed during each of %d reads; what was stored may mix old and new content", r.rereads+1))
	}
	r.bytes.Add(r.n)
	return io.EOF
}

func (r *reader) Close() error {
	if r.fd < 0 {
		return nil
	}
	fd := r.fd
	r.fd = -1
	return unix.Close(fd)
}
