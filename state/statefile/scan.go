package statefile

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strings"
	"time"
)

// scanner reads the JSON of points segments exactly as encoder writes it. encoding/json needs many seconds for a million
// points; this needs one, because it knows what comes next, shares repeated strings and keeps the others in large blocks.
//
// The first error sticks: every method then does nothing, so that callers check once. Loops over lists end because next
// answers false.
type scanner struct {
	data []byte
	pos  int
	err  error

	arena strings.Builder // unique strings, one block after another
	seen  [4096]string    // recently seen repeated strings, by hash

	scratch []byte // holds a string that had escapes
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%s at byte %d", what, s.pos)
	}
}

// has consumes text when it comes next.
func (s *scanner) has(text string) bool {
	if s.err != nil || len(s.data)-s.pos < len(text) || string(s.data[s.pos:s.pos+len(text)]) != text {
		return false
	}
	s.pos += len(text)
	return true
}

func (s *scanner) must(text string) {
	if !s.has(text) {
		s.fail("expected " + text)
	}
}

// next tells whether element i of a list follows, and consumes what precedes it, or the end of the list.
func (s *scanner) next(i int) bool {
	if s.has("]") {
		return false
	}
	if i > 0 {
		s.must(",")
	}
	return s.err == nil
}

// plainByte marks what stands for itself inside a JSON string.
var plainByte = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// Constants to test eight bytes at once: the top bit of a byte of (x-low)&^x says that the byte of x was zero.
const (
	low  = 0x0101010101010101
	high = 0x8080808080808080
)

// special returns a word that is not zero when any of the eight bytes of w is not plain. The lowest marked byte is the
// first such byte; bytes above it may be marked wrongly, by the borrow.
func special(w uint64) uint64 {
	quote, slash := w^('"'*low), w^('\\'*low)
	return ((quote-low)&^quote | (slash-low)&^slash | (w-' '*low)&^w | w) & high
}

// bytes reads a string. The result may point into the data.
func (s *scanner) bytes() []byte {
	s.must(`"`)
	if s.err != nil {
		return nil
	}
	data, start, pos := s.data, s.pos, s.pos
	for len(data)-pos >= 8 {
		if mark := special(binary.LittleEndian.Uint64(data[pos:])); mark != 0 {
			pos += bits.TrailingZeros64(mark) / 8
			break
		}
		pos += 8
	}
	for pos < len(data) && plainByte[data[pos]] {
		pos++
	}
	if pos < len(data) && data[pos] == '"' {
		s.pos = pos + 1
		return data[start:pos]
	}
	return s.escaped(start)
}

// quoted reads a string of plain bytes and of escaped quotes and backslashes, as the addresses of for_each are; start is
// behind its opening quote. ok is false, and nothing is consumed, for any other string.
func (s *scanner) quoted(start int) (text []byte, ok bool) {
	s.scratch = s.scratch[:0]
	for pos := start; pos < len(s.data); pos++ {
		switch c := s.data[pos]; {
		case c == '"':
			s.pos = pos + 1
			return s.scratch, true
		case plainByte[c]:
			s.scratch = append(s.scratch, c)
		case c == '\\' && pos+1 < len(s.data) && (s.data[pos+1] == '"' || s.data[pos+1] == '\\'):
			pos++
			s.scratch = append(s.scratch, s.data[pos])
		default:
			return nil, false
		}
	}
	return nil, false
}

// escaped reads a string that holds escapes or more than ASCII; start is behind its opening quote. The result is valid
// until the next string is read.
func (s *scanner) escaped(start int) []byte {
	if text, ok := s.quoted(start); ok {
		return text
	}
	for s.pos = start; s.pos < len(s.data); s.pos++ {
		switch s.data[s.pos] {
		case '\\':
			s.pos++
		case '"':
			s.pos++
			var text string
			if err := json.Unmarshal(s.data[start-1:s.pos], &text); err != nil {
				s.fail("malformed string")
			}
			return []byte(text)
		}
	}
	s.fail("string without end")
	return nil
}

// arenaBlock is how many bytes of strings share one allocation.
const arenaBlock = 64 << 10

// unique reads a string that hardly any other equals.
func (s *scanner) unique() string { return s.keep(s.bytes()) }

func (s *scanner) keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s.arena.Cap()-s.arena.Len() < len(b) {
		// A full block is left to the strings that point into it. The first one is small, since most catalogs are.
		grow := max(min(2*s.arena.Cap(), arenaBlock), len(b), 512)
		s.arena = strings.Builder{}
		s.arena.Grow(grow)
	}
	start := s.arena.Len()
	s.arena.Write(b)
	return s.arena.String()[start:]
}

// shared reads a string that others are likely to equal.
func (s *scanner) shared() string {
	b := s.bytes()
	if len(b) == 0 {
		return ""
	}
	slot := &s.seen[slotOf(b)]
	if *slot != string(b) {
		*slot = s.keep(b)
	}
	return *slot
}

// slotOf hashes the length and both ends: what repeats is told apart by those.
func slotOf(b []byte) uint64 {
	var head, tail [8]byte
	copy(head[:], b)
	copy(tail[:], b[max(0, len(b)-8):])
	h := binary.LittleEndian.Uint64(head[:])*0x9e3779b97f4a7c15 ^ binary.LittleEndian.Uint64(tail[:]) ^ uint64(len(b))
	return h * 0xff51afd7ed558ccd >> 52 // 12 bits, as many as seen has slots
}

func (s *scanner) int() int64 {
	if s.err != nil {
		return 0
	}
	negative := s.has("-")
	start, n := s.pos, uint64(0)
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		n = n*10 + uint64(s.data[s.pos]-'0')
		s.pos++
	}
	limit := uint64(math.MaxInt64)
	if negative {
		limit++
	}
	switch digits := s.pos - start; {
	case digits == 0, digits > 1 && s.data[start] == '0', digits > 19, n > limit:
		s.fail("expected a whole number")
		return 0
	case negative:
		return -int64(n)
	}
	return int64(n)
}

// time reads an RFC 3339 time. Ours end in Z and mostly have no fraction, which is read without the general parser.
func (s *scanner) time() time.Time {
	if rest := s.data[s.pos:]; s.err == nil && len(rest) >= 22 && rest[0] == '"' && rest[21] == '"' {
		if t, ok := utcSeconds(rest[1:21]); ok {
			s.pos += 22
			return t
		}
	}
	b := s.bytes()
	if s.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		s.fail("expected a time")
	}
	return t.UTC()
}

// utcSeconds reads 2006-01-02T15:04:05Z.
func utcSeconds(b []byte) (time.Time, bool) {
	if len(b) != 20 || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[19] != 'Z' {
		return time.Time{}, false
	}
	year := two(b, 0)*100 + two(b, 2)
	month, day, hour, minute, second := two(b, 5), two(b, 8), two(b, 11), two(b, 14), two(b, 17)
	if min(year, hour, minute, second) < 0 || year < 1 || month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false // also days 29 to 31, where the general parser knows the months
	}
	return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC), true
}

// two reads two digits; anything else is so negative that no sum hides it.
func two(b []byte, i int) int {
	hi, lo := b[i]-'0', b[i+1]-'0'
	if hi > 9 || lo > 9 {
		return math.MinInt32
	}
	return int(hi)*10 + int(lo)
}

func (s *scanner) end() error {
	if s.err == nil && s.pos != len(s.data) {
		s.fail("something follows the document")
	}
	return s.err
}
