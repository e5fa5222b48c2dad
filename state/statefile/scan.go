package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// scanner reads the JSON of points segments. encoding/json needs several seconds for a million points; this needs a
// fraction of one, because it knows the shape, shares repeated strings and keeps the others in large blocks.
//
// The first error sticks: every method then does nothing, so that callers check once. Loops over elements end because
// next answers false.
type scanner struct {
	data []byte
	pos  int
	err  error

	arena strings.Builder // unique strings, one block after another
	seen  [4096]string    // recently seen repeated strings, by hash
}

func (s *scanner) fail(what string) {
	if s.err == nil {
		s.err = fmt.Errorf("%s at byte %d", what, s.pos)
	}
}

// peek skips white space and returns the byte there, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		if c > ' ' || (c != ' ' && c != '\n' && c != '\t' && c != '\r') {
			return c
		}
		s.pos++
	}
	return 0
}

func (s *scanner) expect(c byte) {
	if s.err != nil {
		return
	}
	if s.peek() != c {
		s.fail("expected " + string(rune(c)))
		return
	}
	s.pos++
}

// next tells whether element i of an object or array follows, and moves to it; it consumes end when none does.
func (s *scanner) next(i int, end byte) bool {
	if s.err != nil {
		return false
	}
	c := s.peek()
	if c == end {
		s.pos++
		return false
	}
	if i > 0 {
		s.expect(',')
		if s.peek() == end {
			s.fail("unexpected end of list")
		}
	}
	return s.err == nil
}

// key reads a name and its colon.
func (s *scanner) key() []byte {
	k := s.bytes()
	s.expect(':')
	return k
}

// plainByte marks what stands for itself inside a JSON string.
var plainByte = func() (t [256]bool) {
	for c := ' '; c < 0x7f; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// bytes reads a string. The result may point into the data.
func (s *scanner) bytes() []byte {
	s.expect('"')
	if s.err != nil {
		return nil
	}
	start := s.pos
	for s.pos < len(s.data) && plainByte[s.data[s.pos]] {
		s.pos++
	}
	if s.pos < len(s.data) && s.data[s.pos] == '"' {
		s.pos++
		return s.data[start : s.pos-1]
	}
	return s.escaped(start)
}

// escaped reads a string that holds escapes or more than ASCII; start is behind its opening quote.
func (s *scanner) escaped(start int) []byte {
	for ; s.pos < len(s.data); s.pos++ {
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
	h := uint32(len(b))
	for _, c := range b[max(0, len(b)-12):] {
		h = (h ^ uint32(c)) * 16777619
	}
	slot := &s.seen[(h^h>>15)%uint32(len(s.seen))]
	if *slot != string(b) {
		*slot = s.keep(b)
	}
	return *slot
}

func (s *scanner) bool() bool {
	s.peek()
	rest := s.data[s.pos:]
	switch {
	case s.err != nil:
	case len(rest) >= 4 && string(rest[:4]) == "true":
		s.pos += 4
		return true
	case len(rest) >= 5 && string(rest[:5]) == "false":
		s.pos += 5
	default:
		s.fail("expected true or false")
	}
	return false
}

func (s *scanner) int() int64 {
	if s.err != nil {
		return 0
	}
	negative := s.peek() == '-'
	if negative {
		s.pos++
	}
	start, n := s.pos, uint64(0)
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		n = n*10 + uint64(s.data[s.pos]-'0')
		s.pos++
	}
	switch digits := s.pos - start; {
	case digits == 0, digits > 1 && s.data[start] == '0', digits > 19, n > math.MaxInt64:
		s.fail("expected a whole number")
		return 0
	case negative:
		return -int64(n)
	}
	return int64(n)
}

// time reads an RFC 3339 time. Ours end in Z and mostly have no fraction, which is read without the general parser.
func (s *scanner) time() time.Time {
	b := s.bytes()
	if s.err != nil {
		return time.Time{}
	}
	if t, ok := utcSeconds(b); ok {
		return t
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
	if s.err == nil && s.peek() != 0 {
		s.fail("something follows the document")
	}
	if s.err == nil && s.pos != len(s.data) {
		s.err = errors.New("something follows the document")
	}
	return s.err
}
