package basebackup

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncFS is one call for a whole file system: a data directory has tens of thousands of files.
func syncFS(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
