package basebackup

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stampsOf reads a file's stamps.
func stampsOf(info fs.FileInfo) (stamps, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamps{}, false
	}
	return stamps{device: uint64(st.Dev), inode: st.Ino, modified: info.ModTime(), changed: time.Unix(st.Ctim.Unix())}, true
}

// bcachefs is not among the constants yet (fs/bcachefs in Linux).
const bcachefs = 0xCA451A4E

// localFileSystems stamp every write by the clock of this kernel. Network file systems have a server's clock and remember
// attributes for a while; FUSE ones do as they like.
var localFileSystems = map[uint32]bool{
	unix.EXT4_SUPER_MAGIC: true, unix.XFS_SUPER_MAGIC: true, unix.BTRFS_SUPER_MAGIC: true, unix.F2FS_SUPER_MAGIC: true,
	unix.TMPFS_MAGIC: true, unix.OVERLAYFS_SUPER_MAGIC: true, 0x2FC12FC1: true /* ZFS */, bcachefs: true,
}

func keepsTime(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && localFileSystems[uint32(st.Type)]
}

// openFile opens a file that is read once. NOREUSE keeps that from pushing out pages which production uses; DONTNEED would drop
// those very pages (docs/decisions/0061).
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() >= readAdvised {
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_NOREUSE)
	}
	return f, nil
}
