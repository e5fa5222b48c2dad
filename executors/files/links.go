package files

import (
	"sync"

	"golang.org/x/sys/unix"
)

// links remembers files with several names: the first path seen holds the content, the others point at it. Only files whose
// link count says that another name is still to come are kept, so memory does not grow with the tree.
type links struct {
	groups map[inode]*group
}

type inode struct{ dev, ino uint64 }

// group is the names of one file that were seen so far.
type group struct {
	id inode

	mu    sync.Mutex
	shown []string // entry paths; the first holds the content
	raw   []string
	left  uint64 // names still to come
	lost  bool   // no name could be read: the next one stands for itself
}

func newLinks() *links { return &links{groups: map[inode]*group{}} }

// add records a name. target is the path that holds the content, empty when this name does.
func (l *links) add(st *unix.Stat_t, raw, shown string) (g *group, target string) {
	id := inode{st.Dev, st.Ino}
	g = l.groups[id]
	if g != nil {
		if target = g.join(raw, shown); target == "" {
			g = nil
		}
	}
	if g == nil {
		g = &group{id: id, shown: []string{shown}, raw: []string{raw}, left: uint64(st.Nlink) - 1}
		l.groups[id] = g
	}
	if g.left == 0 {
		delete(l.groups, id)
	}
	return g, target
}

func (g *group) join(raw, shown string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lost || g.left == 0 {
		return ""
	}
	g.raw, g.shown, g.left = append(g.raw, raw), append(g.shown, shown), g.left-1
	return g.shown[0]
}

// name returns the i-th raw name, or false. When there is none, the group is lost: its content cannot be read by any name
// seen so far, and dangling lists the entries that point at it.
func (g *group) name(i int) (raw string, ok bool, dangling []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i < len(g.raw) {
		return g.raw[i], true, nil
	}
	g.lost = true
	return "", false, g.shown[1:]
}
