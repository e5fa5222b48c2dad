package archive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	block = 512
	// nested is how the name of a segment that is an archive of its own ends.
	nested = ".tar"
	// listName is the shard's own list of segments, which servers from 1.19 on may keep. It names more than there are rather
	// than fewer.
	listName = "segments_manifest.json"
	// stateName says which node gave the archive out, and what its replica of the shard was then.
	stateName = "replica_state.json"
	// maxNote bounds what is kept of a member: a long name, extended headers, the list of segments.
	maxNote = 1 << 20
	// maxDepth is how deep archives stand inside of each other: a shard's, and its segments'.
	maxDepth = 2
)

// phase is what the next byte of a level is.
type phase int

const (
	inHeader phase = iota
	inSparse       // an extension of a sparse member's header
	inContent
	inPadding
	atEnd  // behind the end marker: only zeros may follow
	opaque // no archive, or a broken one: passed on as it is
)

// level is one archive: the outer one, or one that is a member of it.
type level struct {
	w      *Walker
	depth  int
	prefix string // of member paths

	phase phase
	at    int64 // bytes so far, without those of a header that is not whole yet
	head  [block]byte
	have  int
	zeros int   // zero blocks in a row
	left  int64 // of content
	pad   int64
	inner *level // the content is an archive of its own
	name  string // of the member
	big   bool   // the member's content is cut out
	note  *[]byte
	long  []byte // the next member's name, when it is too long for a header
	pax   []byte // the next member's extended header
}

// next takes the first n bytes of p in and tells whether a cut belongs behind them.
func (l *level) next(p []byte) (n int, cut bool) {
	if len(p) == 0 {
		return 0, false
	}
	switch l.phase {
	case inHeader, inSparse:
		n = copy(l.head[l.have:], p)
		if l.have += n; l.have == block {
			l.have = 0
			cut = l.header()
			l.at += block
		}
		return n, cut
	case inContent:
		n, cut = l.content(p)
	case inPadding:
		n = int(min(l.pad, int64(len(p))))
		if l.pad -= int64(n); l.pad == 0 {
			l.phase = inHeader
		}
	case atEnd:
		if n = len(p) - len(bytes.TrimLeft(p, "\x00")); n == 0 {
			l.fail("bytes follow the end marker")
			n = len(p)
		}
	default:
		n = len(p)
	}
	l.at += int64(n)
	return n, cut
}

// fail says that this level is no valid archive from here on.
func (l *level) fail(format string, args ...any) {
	l.phase = opaque
	if l.w.report.Problem == "" {
		where := "the archive"
		if l.prefix != "" {
			where = strings.TrimSuffix(l.prefix, "/")
		}
		l.w.report.Problem = fmt.Sprintf("%s, near byte %d of it: %s", where, l.at, fmt.Sprintf(format, args...))
	}
}

// header reads a whole header block and tells whether to cut behind it.
func (l *level) header() (cut bool) {
	h := header(l.head[:])
	if l.phase == inSparse {
		if h[504] == 0 {
			return l.begin()
		}
		return false
	}
	if len(bytes.Trim(h, "\x00")) == 0 {
		if l.zeros++; l.zeros == 2 {
			l.phase = atEnd
			if l.depth == 0 {
				l.w.report.End = true
			}
		}
		return false
	}
	if l.zeros > 0 {
		l.fail("a member follows a zero block")
		return false
	}
	size, err := h.check()
	if err != nil {
		l.fail("%v", err)
		return false
	}
	l.left, l.pad = size, (block-size%block)%block
	l.name, l.inner, l.big, l.note = "", nil, false, nil
	switch typ := h[156]; typ {
	case 'L', 'x', 'K', 'g':
		return l.annotation(typ, size)
	case '0', 0, 'S', '5':
		l.name = l.memberName(h)
		if typ == 'S' && h[482] != 0 {
			l.phase = inSparse
			return false
		}
		if typ == '5' {
			l.left, l.pad = 0, 0
		}
		return l.begin()
	default:
		l.fail("member %q has the type %q, which no snapshot holds", h.name(), typ)
		return false
	}
}

// annotation is a header that tells of the next member: a long name, or extended attributes.
func (l *level) annotation(typ byte, size int64) bool {
	if size > maxNote {
		l.fail("a header's extension claims %d bytes", size)
		return false
	}
	switch typ {
	case 'L':
		l.long, l.note = nil, &l.long
	case 'x':
		l.pax, l.note = nil, &l.pax
	}
	l.phase = inContent
	l.skipEmpty()
	return false
}

func (l *level) memberName(h header) string {
	name := h.name()
	if l.long != nil {
		name = string(bytes.TrimRight(l.long, "\x00"))
	}
	if path, ok := paxPath(l.pax); ok {
		name = path
	}
	l.long, l.pax = nil, nil
	return strings.TrimPrefix(name, "./")
}

// begin starts a member's content and tells whether to cut before it.
func (l *level) begin() (cut bool) {
	path := l.prefix + l.name
	l.w.see(strings.TrimSuffix(path, "/"))
	for name, into := range map[string]*[]byte{listName: &l.w.list, stateName: &l.w.state} {
		if path == name && l.left <= maxNote {
			*into = []byte{}
			l.note = into
		}
	}
	l.big = l.left >= MinPart
	if l.head[156] != 'S' && l.left > 0 && l.depth+1 < maxDepth && strings.HasSuffix(l.name, nested) {
		l.inner = &level{w: l.w, depth: l.depth + 1, prefix: path + "/"}
	}
	l.phase = inContent
	l.skipEmpty()
	return l.big
}

// skipEmpty goes on when there is no content.
func (l *level) skipEmpty() {
	if l.left == 0 {
		l.phase = inHeader
	}
}

// content passes a member's content on, up to its end.
func (l *level) content(p []byte) (n int, cut bool) {
	p = p[:min(l.left, int64(len(p)))]
	if l.inner != nil {
		n, cut = l.inner.next(p)
	} else {
		n = len(p)
	}
	if l.note != nil {
		*l.note = append(*l.note, p[:n]...)
	}
	if l.left -= int64(n); l.left > 0 {
		return n, cut
	}
	// Servers leave the end marker of a segment's archive away; it must end between two members all the same.
	if l.inner != nil && (l.inner.phase != inHeader || l.inner.have > 0) && l.inner.phase != atEnd && l.inner.phase != opaque {
		l.inner.fail("it ends in the middle of a member")
	}
	l.phase = inHeader
	if l.pad > 0 {
		l.phase = inPadding
	}
	return n, cut || l.big
}

// header is one block that describes a member.
type header []byte

func (h header) name() string { return text(h[:100]) }

// check verifies the block's sum and returns the number of content bytes behind it.
func (h header) check() (size int64, err error) {
	want, ok := number(h[148:156])
	sum := int64(8 * ' ')
	for i, c := range h {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	if !ok || want != sum {
		return 0, fmt.Errorf("a header's sum is wrong")
	}
	size, ok = number(h[124:136])
	if !ok || size > 1<<50 {
		return 0, fmt.Errorf("member %q claims an impossible size", h.name())
	}
	return size, nil
}

// number reads octal digits, or binary when the first bit is set.
func number(field []byte) (int64, bool) {
	var n int64
	if field[0]&0x80 != 0 {
		for i, c := range field {
			if i == 0 {
				c &= 0x7f
			}
			if n > 1<<54 {
				return 0, false
			}
			n = n<<8 | int64(c)
		}
		return n, true
	}
	digits := strings.Trim(text(field), " ")
	for _, c := range digits {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n<<3 | int64(c-'0')
	}
	return n, true
}

func text(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

// paxPath finds the path in an extended header: lines "LENGTH KEY=VALUE\n".
func paxPath(data []byte) (path string, ok bool) {
	for len(data) > 0 {
		var length int
		if _, err := fmt.Sscanf(string(data[:min(len(data), 12)]), "%d ", &length); err != nil || length < 5 || length > len(data) {
			return path, ok
		}
		record := string(data[:length])
		data = data[length:]
		_, pair, _ := strings.Cut(record, " ")
		if value, is := strings.CutPrefix(pair, "path="); is {
			path, ok = strings.TrimSuffix(value, "\n"), true
		}
	}
	return path, ok
}

func replicaOf(data []byte) string {
	var said struct {
		This  json.Number       `json:"this_peer_id"`
		Peers map[string]string `json:"peers"`
	}
	if json.Unmarshal(data, &said) != nil {
		return ""
	}
	return said.Peers[said.This.String()]
}

func parseList(data []byte) ([]string, error) {
	var list map[string]json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	return slices.AppendSeq([]string{}, maps.Keys(list)), nil
}
