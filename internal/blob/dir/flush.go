package dir

import "sync"

// flusher flushes folders, and lets callers that wait for the same folder share one flush.
//
// A caller has already done its change when it asks. A flush that is running may have begun before that change, so it
// does not count; the one that begins next does, for everybody who waits by then.
type flusher struct {
	sync func(folder string) error

	mu      sync.Mutex
	folders map[string]*folderFlush
}

type folderFlush struct {
	running chan struct{} // holds one token during a flush
	next    *flush        // has not begun; nil when nobody waits
	users   int
}

type flush struct {
	done chan struct{}
	err  error
}

// folder returns when a flush that began after the call has ended.
func (f *flusher) folder(path string) error {
	f.mu.Lock()
	if f.folders == nil {
		f.folders = map[string]*folderFlush{}
	}
	ff := f.folders[path]
	if ff == nil {
		ff = &folderFlush{running: make(chan struct{}, 1)}
		f.folders[path] = ff
	}
	if mine := ff.next; mine != nil {
		f.mu.Unlock()
		<-mine.done
		return mine.err
	}
	mine := &flush{done: make(chan struct{})}
	ff.next = mine
	ff.users++
	f.mu.Unlock()

	ff.running <- struct{}{}
	f.mu.Lock()
	ff.next = nil
	f.mu.Unlock()
	mine.err = f.sync(path)
	<-ff.running
	close(mine.done)

	f.mu.Lock()
	if ff.users--; ff.users == 0 {
		delete(f.folders, path)
	}
	f.mu.Unlock()
	return mine.err
}

func (b *Bucket) syncFolder(path string) error {
	d, err := b.root.Open(path)
	if err != nil {
		return hideAbsence(err)
	}
	defer d.Close()
	return ignoreUnsupported(d.Sync())
}
