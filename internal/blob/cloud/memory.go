package cloud

import (
	"sync"

	gocloud "gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

// memoryPage is everything at once: memory has no requests to bound, and memblob sorts all names again for each page.
const memoryPage = 1 << 20

// memory holds the named buckets, so that two parts of one process that open mem://x see the same objects, as they would
// in a real store. They live as long as the process.
var memory = struct {
	sync.Mutex
	buckets map[string]*gocloud.Bucket
}{buckets: map[string]*gocloud.Bucket{}}

func openMemory(name string) (b *gocloud.Bucket, shared bool) {
	if name == "" {
		return memblob.OpenBucket(nil), false
	}
	memory.Lock()
	defer memory.Unlock()
	if memory.buckets[name] == nil {
		memory.buckets[name] = memblob.OpenBucket(nil)
	}
	return memory.buckets[name], true
}
