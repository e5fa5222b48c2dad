package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// openDir opens a directory relative to another without following a symlink.
func openDir(at *os.File, name string) (*os.File, error) {
	fd, err := openat(int(at.Fd()), name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openat opens for reading, never follows a symlink, never waits for the other side of a FIFO, and leaves the access time
// alone where the kernel lets it (only a file's owner and root may ask for that).
func openat(at int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	for {
		fd, err := unix.Openat(at, name, flags|unix.O_NOATIME, 0)
		if err == unix.EPERM {
			fd, err = unix.Openat(at, name, flags, 0)
		}
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openBelow opens a clean relative path step by step, so that no symlink on the way is followed. It works on every kernel
// and under every seccomp profile, which openat2 does not.
func openBelow(root *os.File, raw string) (fd int, err error) {
	conn, err := root.SyscallConn()
	if err != nil {
		return -1, err
	}
	// Control keeps the root open during the call: a sink may still call while a failed backup is closing it.
	ctlErr := conn.Control(func(at uintptr) { fd, err = openSteps(int(at), raw) })
	if ctlErr != nil {
		return -1, fmt.Errorf("%w: %w", os.ErrClosed, ctlErr)
	}
	return fd, err
}

func openSteps(root int, raw string) (int, error) {
	at := root
	for {
		step, rest, more := strings.Cut(raw, "/")
		flags := 0
		if more {
			flags = unix.O_DIRECTORY
		}
		fd, err := openat(at, step, flags)
		if at != root {
			unix.Close(at)
		}
		if err != nil || !more {
			return fd, err
		}
		at, raw = fd, rest
	}
}

func readlink(dir *os.File, name string) (string, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(int(dir.Fd()), name, b)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
}

// gone tells errors that mean the name stands for nothing of its kind any more: removed, or replaced by another kind.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) ||
		errors.Is(err, unix.ENXIO) || errors.Is(err, unix.EINVAL) || errors.Is(err, errOtherKind)
}

var errOtherKind = errors.New("it is no longer a regular file")

// reportUnread says what became of an item that could not be read. One that vanished is not missing: it does not exist any
// more, and the point shows the tree after that.
func reportUnread(p *problems, path string, err error) {
	if gone(err) {
		p.add(path, false, fmt.Errorf("vanished while the tree was being read: %w", reason(err)))
		return
	}
	p.add(path, true, fmt.Errorf("not readable: %w; grant the right to read it, or exclude it", reason(err)))
}

// reason strips the paths that package os puts before an errno: whoever wraps the error says the one that matters.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}
