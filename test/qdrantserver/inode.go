package qdrantserver

import (
	"os"
	"syscall"
)

// inode is the number of a file, which is a part of its ETag.
func inode(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
