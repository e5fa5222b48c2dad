package qdrantserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"time"
)

// file is one file of a segment. It is as long as size says; behind data there are only zeros, which a real file system
// would not have stored either. Qdrant allocates its files in large pieces, so most of them look like that.
type file struct {
	data  []byte
	size  int64
	mtime time.Time
	// solid files have no holes, whatever is in them: they were written, not allocated.
	solid bool
	// shared is set when a snapshot may still be reading data: the next write goes to a copy.
	shared bool
}

// Sizes of what Qdrant allocates ahead, scaled down from 32 MiB.
const (
	chunkSize   = 1 << 20
	pageSize    = 1 << 20
	trackerSize = 1 << 16
	maskSize    = 1 << 12
	bitmaskSize = 1 << 16
	walSize     = 1 << 20
	blockSize   = 128 // payloads begin at multiples of it
)

func now() time.Time { return time.Now().Truncate(time.Second) }

func newFile(data []byte, size int64) *file {
	return &file{data: data, size: max(size, int64(len(data))), mtime: now()}
}

// writeAt overwrites or extends the file.
func (f *file) writeAt(p []byte, at int64) {
	end := at + int64(len(p))
	if f.shared {
		f.data, f.shared = bytes.Clone(f.data), false
	}
	if end > int64(len(f.data)) {
		f.data = append(f.data, make([]byte, end-int64(len(f.data)))...)
	}
	copy(f.data[at:], p)
	f.size = max(f.size, end)
	f.mtime = now()
}

// readAt returns n bytes, zeros where nothing was written.
func (f *file) readAt(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at+n > f.size {
		return nil, fmt.Errorf("%d bytes at %d of a file of %d", n, at, f.size)
	}
	out := make([]byte, n)
	if at < int64(len(f.data)) {
		copy(out, f.data[at:])
	}
	return out, nil
}

// frozen is the file as it is now; later writes do not change it.
func (f *file) frozen() *file {
	f.shared = true
	c := *f
	return &c
}

// hole is the granularity in which zeros are found.
func hole(name string) int {
	if path.Base(name) == "bitmask.dat" {
		return 512
	}
	return 4096
}

// extent is a piece of a sparse file that holds data.
type extent struct{ at, size int64 }

// extents are the pieces of the file that hold data; one from 0 to the end when there are no holes.
func (f *file) extents(grain int) []extent {
	if f.solid || f.size < int64(grain) && len(f.data) > 0 {
		return []extent{{0, f.size}}
	}
	var list []extent
	for at := 0; at < len(f.data); at += grain {
		block := f.data[at:min(at+grain, len(f.data))]
		if len(bytes.TrimLeft(block, "\x00")) == 0 {
			continue
		}
		if k := len(list) - 1; k >= 0 && list[k].at+list[k].size == int64(at) {
			list[k].size += int64(len(block))
			continue
		}
		list = append(list, extent{int64(at), int64(len(block))})
	}
	// What is stored ends at a block of the file system, not where the data ends.
	if k := len(list) - 1; k >= 0 {
		last := &list[k]
		last.size = min((last.size+int64(grain)-1)/int64(grain)*int64(grain), f.size-last.at)
	}
	return list
}

// blobs is a storage of values of any length: pages of blocks, and a tracker that says where each value is. An update
// goes to new blocks.
type blobs struct {
	files map[string]*file
	dir   string
	page  int
	free  int64 // next byte of the page
}

func newBlobs(files map[string]*file, dir string) *blobs {
	b := &blobs{files: files, dir: dir}
	files[dir+"/config.json"] = newFile([]byte(fmt.Sprintf(`{"page_size_bytes":%d,"block_size_bytes":%d,"region_size_blocks":64,"compression":"None"}`, pageSize, blockSize)), 0)
	files[dir+"/tracker.dat"] = newFile(nil, trackerSize)
	files[dir+"/bitmask.dat"] = newFile(scattered(), bitmaskSize)
	files[dir+"/gaps.dat"] = newFile(bytes.Repeat([]byte{8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 16), 0)
	files[dir+"/page_0.dat"] = newFile(nil, pageSize)
	return b
}

// scattered fills the far end of a bitmask so that its file has more holes than the header of a tar member can name; the
// bits themselves are before it.
func scattered() []byte {
	b := make([]byte, bitmaskSize/2)
	for i := range 30 {
		block := make([]byte, 1024)
		binary.LittleEndian.PutUint64(block, uint64(i)+1)
		b = append(b, block...)
	}
	return b
}

func (b *blobs) name(page int) string { return fmt.Sprintf("%s/page_%d.dat", b.dir, page) }

// put stores the value of a point.
func (b *blobs) put(off int, value []byte) {
	if b.free > 0 && b.free+int64(len(value)) > pageSize {
		b.page, b.free = b.page+1, 0
		b.files[b.name(b.page)] = newFile(nil, pageSize)
	}
	b.files[b.name(b.page)].writeAt(value, b.free)
	entry := make([]byte, 16)
	binary.LittleEndian.PutUint32(entry, uint32(b.page)+1)
	binary.LittleEndian.PutUint32(entry[4:], uint32(b.free/blockSize))
	binary.LittleEndian.PutUint32(entry[8:], uint32(len(value)))
	b.files[b.dir+"/tracker.dat"].writeAt(entry, int64(off)*16)
	blocks := (int64(len(value)) + blockSize - 1) / blockSize
	first := (int64(b.page)*pageSize + b.free) / blockSize
	mask := b.files[b.dir+"/bitmask.dat"]
	for i := first; i < first+blocks; i++ {
		setBit(mask, int(i), true)
	}
	b.free += blocks * blockSize
}

// get is the value of a point; nil when it has none.
func (b *blobs) get(off int) ([]byte, error) {
	tracker, ok := b.files[b.dir+"/tracker.dat"]
	if !ok {
		return nil, fmt.Errorf("%s has no tracker", b.dir)
	}
	if int64(off+1)*16 > tracker.size {
		return nil, nil
	}
	entry, err := tracker.readAt(int64(off)*16, 16)
	if err != nil {
		return nil, err
	}
	page := binary.LittleEndian.Uint32(entry)
	if page == 0 {
		return nil, nil
	}
	f, ok := b.files[b.name(int(page-1))]
	if !ok {
		return nil, fmt.Errorf("%s has no page %d", b.dir, page-1)
	}
	return f.readAt(int64(binary.LittleEndian.Uint32(entry[4:]))*blockSize, int64(binary.LittleEndian.Uint32(entry[8:])))
}

// clear forgets the value of a point.
func (b *blobs) clear(off int) {
	b.files[b.dir+"/tracker.dat"].writeAt(make([]byte, 16), int64(off)*16)
}

// reopen finds the place where the next value goes, after the files came out of an archive.
func (b *blobs) reopen() error {
	tracker := b.files[b.dir+"/tracker.dat"]
	if tracker == nil {
		return says("Failed to open mmap payload storage: Service error: Tracker file does not exist: %s/tracker.dat", b.dir)
	}
	if b.files[b.dir+"/config.json"] == nil {
		return says("Failed to open mmap payload storage: path %s/config.json not found", b.dir)
	}
	for at := 0; at+12 <= len(tracker.data); at += 16 {
		page := int(binary.LittleEndian.Uint32(tracker.data[at:])) - 1
		size := int64(binary.LittleEndian.Uint32(tracker.data[at+8:]))
		end := int64(binary.LittleEndian.Uint32(tracker.data[at+4:]))*blockSize + (size+blockSize-1)/blockSize*blockSize
		if page > b.page {
			b.page, b.free = page, 0
		}
		if page == b.page {
			b.free = max(b.free, end)
		}
	}
	for page := range b.page + 1 {
		if b.files[b.name(page)] == nil {
			return says("Failed to open mmap payload storage: Service error: Inconsistent number of gridstore pages at %q: expected %d", b.dir, b.page+1)
		}
	}
	return nil
}

func setBit(f *file, i int, on bool) {
	var b [1]byte
	if i/8 < len(f.data) {
		b[0] = f.data[i/8]
	}
	if on {
		b[0] |= 1 << (i % 8)
	} else {
		b[0] &^= 1 << (i % 8)
	}
	f.writeAt(b[:], int64(i/8))
}

func getBit(f *file, i int) bool { return i/8 < len(f.data) && f.data[i/8]>>(i%8)&1 == 1 }
