package qdrant

import (
	"os"

	"golang.org/x/sys/unix"
)

// punch gives the disk back what a file holds before an offset. File systems that cannot do it keep it until the file ends.
func punch(f *os.File, from, to int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
}
