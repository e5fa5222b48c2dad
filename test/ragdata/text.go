package ragdata

import (
	"math"
	"slices"
)

// rng is splitmix64: one multiplication chain per number, and the same numbers with every version of Go.
type rng uint64

// newRng makes the generator of one thing: the same parts give the same numbers, other parts unrelated ones.
func newRng(parts ...uint64) rng {
	r := rng(0x9e3779b97f4a7c15)
	for _, p := range parts {
		r ^= rng(p)
		r = rng(r.next())
	}
	return r
}

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// below returns a number in [0, n). The bias of the remainder does not matter to a file's content.
func (r *rng) below(n int) int { return int(r.next() % uint64(n)) }

// normal returns a number of mean 0 and deviation 1, near enough to a bell: the sum of four uniform ones.
func (r *rng) normal() float64 {
	x := r.next()
	sum := float64(x&0xffff) + float64(x>>16&0xffff) + float64(x>>32&0xffff) + float64(x>>48)
	return (sum/65536 - 2) * math.Sqrt(3)
}

// vocabularySize and the weights below give English-like word frequencies: zstd -3 makes 2.5 to 3 of 1 of the text, as it
// does of prose in short records.
const vocabularySize = 12000

var (
	words   = makeWords()
	drawing = makeDrawing() // a word's share of the table is its frequency
)

func makeWords() []string {
	onsets := []string{"b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pr", "ch", "sh", "br", "cl", ""}
	vowels := []string{"a", "e", "i", "o", "u", "ea", "ou", "io", "ai"}
	codas := []string{"", "", "n", "r", "s", "t", "l", "nd", "ng", "st", "m", "ck"}
	r := newRng(1)
	seen := map[string]bool{}
	list := make([]string, 0, vocabularySize)
	for len(list) < vocabularySize {
		syllables := 1 + r.below(2+len(list)*3/vocabularySize) // frequent words are short
		w := ""
		for range syllables {
			w += onsets[r.below(len(onsets))] + vowels[r.below(len(vowels))] + codas[r.below(len(codas))]
		}
		if !seen[w] {
			seen[w] = true
			list = append(list, w)
		}
	}
	return list
}

func makeDrawing() []uint16 {
	total := 0.0
	for rank := range words {
		total += 1 / (float64(rank) + 2.7)
	}
	table := make([]uint16, 0, 1<<16)
	sum := 0.0
	for rank := range words {
		sum += 1 / (float64(rank) + 2.7)
		for len(table) < int(math.Round(sum/total*(1<<16))) {
			table = append(table, uint16(rank))
		}
	}
	return slices.Grow(table, 0)[:1<<16]
}

// appendText appends exactly n bytes of sentences to b.
func appendText(b []byte, r *rng, n int) []byte {
	end := len(b) + n
	sentence := 0
	for len(b) < end {
		draw := r.next()
		for range 4 {
			w := words[drawing[draw&0xffff]]
			draw >>= 16
			if sentence == 0 {
				b = append(b, w[0]-'a'+'A')
				b = append(b, w[1:]...)
				sentence = 6 + int(draw&0xf)
			} else {
				b = append(b, w...)
			}
			if sentence--; sentence == 0 {
				b = append(b, '.')
			} else if draw&0xf == 0 {
				b = append(b, ',')
			}
			b = append(b, ' ')
		}
	}
	b = b[:end]
	b[end-1] = '.' // PostgreSQL's char(n) and editors trim blanks; a period stays
	return b
}
