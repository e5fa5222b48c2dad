package postgres

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// walChain is the WAL that recovery of a base backup can read on the way to a timeline: segment after segment, out of an archive
// and, where that lacks one, out of the base backup itself.
type walChain struct {
	archive executors.WALArchive // nil where there is none
	from    executors.Supply
	doc     *basebackup.Document

	size              wal.SegmentSize
	start, consistent wal.LSN
	history           wal.History // of the timeline that recovery follows

	stored  map[wal.Segment]int64 // in the archive: how many of the segment's bytes
	carried map[wal.Segment]bool  // in the base backup

	first, next uint64      // segments from first up to next, without it, follow one another
	later       wal.Segment // the first one that is stored behind a gap; its Timeline is 0 when there is no gap
	unused      []string    // timelines that began, but of which nothing is stored yet
}

// readChain looks at what is stored. timeline is latest, current or a number.
func readChain(ctx context.Context, archive executors.WALArchive, from executors.Supply, doc *basebackup.Document, timeline string) (*walChain, error) {
	c := &walChain{
		archive: archive, from: from, doc: doc, size: wal.SegmentSize(doc.SegmentSize),
		stored: map[wal.Segment]int64{}, carried: map[wal.Segment]bool{},
	}
	var err error
	if c.start, c.consistent, err = doc.Positions(); err != nil {
		return nil, err
	}
	if err := c.size.Check(); err != nil {
		return nil, err
	}
	histories, err := c.list(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.follow(ctx, histories, timeline); err != nil {
		return nil, err
	}
	c.walk()
	return c, nil
}

// list reads names. Files that are neither segments, pieces of them nor histories play no part in recovery.
func (c *walChain) list(ctx context.Context) (histories []wal.Timeline, err error) {
	var names []string
	if c.archive != nil {
		if names, err = c.archive.Files(ctx, c.doc.System); err != nil {
			return nil, fmt.Errorf("list the WAL of system %s: %w", c.doc.System, err)
		}
	}
	for _, name := range names {
		n := wal.ParseName(name)
		if n.Kind == wal.KindHistory {
			histories = append(histories, n.Timeline)
			continue
		}
		segment, upto, ok := storedSegment(name, int64(c.size))
		if !ok {
			continue
		}
		s, err := wal.ParseSegment(segment, c.size)
		if err != nil {
			return nil, err
		}
		c.stored[s] = max(c.stored[s], upto)
	}
	err = c.from.Entries(ctx, func(e executors.Entry) error {
		if name, ok := strings.CutPrefix(e.Path, basebackup.WALPrefix); ok && e.Size == int64(c.size) {
			if s, err := wal.ParseSegment(name, c.size); err == nil {
				c.carried[s] = true
			}
		}
		return nil
	})
	slices.Sort(histories)
	return slices.Compact(histories), err
}

// storedSegment tells which segment a name in an archive is of, and how far into it the file goes.
func storedSegment(name string, size int64) (segment string, bytes int64, ok bool) {
	segment, part, _ := strings.Cut(name, ".")
	if wal.ParseName(segment).Kind != wal.KindSegment {
		return "", 0, false
	}
	if part == "" && segment == name {
		return segment, size, true
	}
	begin, end, dash := strings.Cut(part, "-")
	from, err1 := strconv.ParseUint(begin, 16, 32)
	to, err2 := strconv.ParseUint(end, 16, 32)
	if !dash || len(begin) != 8 || len(end) != 8 || err1 != nil || err2 != nil || from >= to || int64(to) > size {
		return "", 0, false
	}
	return segment, min(int64(to), size-1), true // a piece never stands for the whole
}

// follow chooses the timeline.
func (c *walChain) follow(ctx context.Context, histories []wal.Timeline, timeline string) error {
	base := wal.Timeline(c.doc.Timeline)
	own := wal.History{Timeline: base}
	switch timeline {
	case "current":
		c.history = own
		return nil
	case "latest":
		return c.followNewest(ctx, histories, own)
	}
	n, err := strconv.ParseUint(timeline, 0, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("timeline %q is none: latest, current or a number", timeline)
	}
	t := wal.Timeline(n)
	if t == base {
		c.history = own
		return nil
	}
	if !slices.Contains(histories, t) {
		return fmt.Errorf("timeline %d is not in the archive; it has the base backup's own, %d, and %v", t, base, histories)
	}
	if c.history, err = c.readHistory(ctx, t); err != nil {
		return err
	}
	if !c.reaches(c.history) {
		return fmt.Errorf("timeline %d does not come from timeline %d of this base backup at or behind %s, where that is consistent: choose another base backup, or leave -timeline away", t, base, c.consistent)
	}
	return nil
}

// followNewest follows the newest timeline that comes from the base backup and of which something is stored.
func (c *walChain) followNewest(ctx context.Context, histories []wal.Timeline, own wal.History) error {
	c.history = own
	for _, t := range slices.Backward(histories) {
		if t <= own.Timeline {
			break
		}
		h, err := c.readHistory(ctx, t)
		if err != nil {
			return err
		}
		if !c.reaches(h) {
			continue
		}
		for s := range c.stored {
			if s.Timeline == t {
				c.history = h
				return nil
			}
		}
		c.unused = append(c.unused, fmt.Sprint(t))
	}
	return nil
}

// maxHistory bounds a history file; one line is some 60 bytes, and there is one for each failover ever.
const maxHistory = 1 << 20

func (c *walChain) readHistory(ctx context.Context, t wal.Timeline) (wal.History, error) {
	name := wal.HistoryName(t)
	b := &boundedBuffer{most: maxHistory}
	if _, err := c.archive.Fetch(ctx, c.doc.System, name, int64(c.size), b); err != nil {
		return wal.History{}, fmt.Errorf("read %s: %w", name, err)
	}
	return wal.ParseHistory(t, b.data)
}

// reaches tells whether a timeline comes from the base backup's, and left it only behind the place where that is consistent.
func (c *walChain) reaches(h wal.History) bool {
	_, end, ok := h.Range(wal.Timeline(c.doc.Timeline))
	return ok && (end == 0 || end >= c.consistent)
}

// walk finds how far segments follow one another, and whether others lie behind a gap.
func (c *walChain) walk() {
	for s, n := range c.stored { // pieces that lag behind the base backup are of less use than what that carries
		if c.carried[s] && n < int64(c.size) && c.size.Start(s.Number)+wal.LSN(n) < c.consistent {
			delete(c.stored, s)
		}
	}
	c.first = c.size.Number(c.start)
	for c.next = c.first; ; c.next++ {
		s := c.segment(c.next)
		n, stored := c.stored[s]
		if !stored && !c.carried[s] {
			break
		}
		if stored && n < int64(c.size) {
			c.next++ // a piece is the end, when nothing follows
			break
		}
	}
	var behind []wal.Segment
	for s := range c.stored {
		if s.Number >= c.next && c.segment(s.Number) == s {
			behind = append(behind, s)
		}
	}
	if len(behind) > 0 {
		c.later = slices.MinFunc(behind, func(a, b wal.Segment) int { return cmp.Compare(a.Number, b.Number) })
	}
}

func (c *walChain) segment(number uint64) wal.Segment { return c.history.SegmentAt(number, c.size) }

func (c *walChain) name(number uint64) string { return c.segment(number).Name(c.size) }

// missing is the name of the first segment that is not there, or not whole.
func (c *walChain) missing() string {
	if c.next > c.first {
		if n, stored := c.stored[c.segment(c.next-1)]; stored && n < int64(c.size) {
			return c.name(c.next-1) + " (only a piece of it is there)"
		}
	}
	return c.name(c.next)
}

// gap is an error when segments lie behind one that is missing.
func (c *walChain) gap() error {
	if c.later.Timeline == 0 {
		return nil
	}
	return fmt.Errorf("the stored WAL has a gap: segment %s is missing, and later ones are there, from %s on", c.missing(), c.later.Name(c.size))
}

// complete says whether the base backup becomes consistent with what is there.
func (c *walChain) complete() error {
	if c.next <= c.size.LastNumber(c.consistent) {
		return fmt.Errorf("the base backup is consistent at %s only, and WAL segment %s before it is missing: choose another base backup, or find the segment", c.consistent, c.missing())
	}
	return nil
}

// boundedBuffer keeps what is written to it, and refuses more than its bound.
type boundedBuffer struct {
	data []byte
	most int
}

// Write implements io.Writer.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > b.most {
		return 0, fmt.Errorf("it has more than %d bytes", b.most)
	}
	b.data = append(b.data, p...)
	return len(p), nil
}
