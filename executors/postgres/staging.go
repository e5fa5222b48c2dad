package postgres

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// passedFile is a temporary file, 0600, that a client program reads.
type passedFile struct {
	f    *os.File
	path string // as the program names it
}

// passFile copies r into a temporary file that will be the n-th one passed to a program. Where the system can name an
// open file by its number, the file has no name of its own: nothing of it remains, however holdfast ends.
func passFile(dir string, r io.Reader, n int) (*passedFile, error) {
	f, err := os.CreateTemp(dir, "holdfast-restore-")
	if err != nil {
		return nil, err
	}
	p := &passedFile{f: f, path: f.Name()}
	if descriptorPaths {
		if err := os.Remove(f.Name()); err != nil {
			p.close()
			return nil, err
		}
		p.path = fmt.Sprintf("/proc/self/fd/%d", 3+n) // 0 to 2 are the standard streams
	}
	if _, err := io.Copy(f, r); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *passedFile) close() {
	_ = p.f.Close() // it was only read
	if !descriptorPaths {
		_ = os.Remove(p.f.Name())
	}
}

// pass hands files to the program under the numbers their paths say.
func (c *child) pass(files []*passedFile) {
	for _, p := range files {
		c.cmd.ExtraFiles = append(c.cmd.ExtraFiles, p.f)
	}
}

// run runs a program that reads files and waits for it.
func (c *child) run(ctx context.Context, files []*passedFile) error {
	c.pass(files)
	if err := c.cmd.Start(); err != nil {
		c.cancel()
		return fmt.Errorf("run %s: %w", c.name(), err)
	}
	return c.wait(ctx)
}

// freeSpace returns the bytes a caller may still write in a folder; empty means the folder for temporary files.
func freeSpace(dir string) (int64, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("ask for free space in %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // types differ between systems
}
