// Package ragdata makes the data of a RAG platform, the same bytes from the same seed: documents cut into chunks of text
// with jsonb metadata and embeddings, and pgbench-like accounts, as a PostgreSQL database or as a folder that looks like
// one (table files of 8 KiB pages) beside thousands of small configuration and Markdown files.
//
// It is not a benchmark and not a test; those use it. It is neither random bytes nor filler: zstd -3 makes about 2.5 of 1
// of it, as it does of real data of that kind.
package ragdata

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

const (
	segmentSize = 1 << 30 // PostgreSQL's
	pieceSize   = 32 << 20
	smallFile   = 16 << 10 // mean
)

// Tree is a folder of data.
type Tree struct {
	Seed uint64
	Size int64 // bytes, about
}

// shares is how the bytes of a tree are spent, in percent; small files take the rest.
var shares = []struct {
	table   table
	node    string // the file's name, as PostgreSQL numbers them
	percent int64
}{
	{accounts, "16402", 51},
	{chunks, "16385", 23},
	{embeddings, "16389", 13},
	{index, "16406", 10},
}

// piece is a run of pages of one file.
type piece struct {
	table table
	path  string
	node  string
	at    int64 // byte offset in the file
	first int64 // number of the first page in the table
	pages int64
}

// pieces cuts the table files into pieces that can be made at the same time.
func (t Tree) pieces(dir string) []piece {
	var list []piece
	for _, s := range shares {
		total := t.Size * s.percent / 100 / pageSize
		for first := int64(0); first < total; {
			at := first * pageSize % segmentSize
			name := s.node
			if n := first * pageSize / segmentSize; n > 0 {
				name = fmt.Sprintf("%s.%d", s.node, n)
			}
			pages := min(total-first, pieceSize/pageSize)
			list = append(list, piece{s.table, filepath.Join(dir, "data", "base", "16384", name), s.node, at, first, pages})
			first += pages
		}
	}
	return list
}

// Write makes the tree in dir, which is created.
func (t Tree) Write(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "data", "base", "16384"), 0o700); err != nil {
		return err
	}
	g := new(errgroup.Group)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range t.pieces(dir) {
		g.Go(func() error {
			buf := make([]byte, p.pages*pageSize)
			for i := range p.pages {
				p.table.fill(buf[i*pageSize:][:pageSize], t.Seed, p.first+i)
			}
			return writeAt(p.path, buf, p.at)
		})
	}
	g.Go(func() error { return t.WriteSmallFiles(dir) })
	return g.Wait()
}

// WriteSmallFiles makes only the folder config of the tree: about three bytes in a hundred of its size.
func (t Tree) WriteSmallFiles(dir string) error {
	for i := range t.smallFiles() {
		if err := t.writeSmall(dir, i, 0); err != nil {
			return err
		}
	}
	return nil
}

// smallFiles is how many there are.
func (t Tree) smallFiles() int {
	used := int64(0)
	for _, s := range shares {
		used += s.percent
	}
	return int(t.Size * (100 - used) / 100 / smallFile)
}

// writeSmall writes one configuration or Markdown file.
func (t Tree) writeSmall(dir string, i int, version int64) error {
	r := rowRng(t.Seed, tableFiles, int64(i), 0)
	kind, size := r.below(3), 1024+r.below(2*smallFile-2048)
	path := filepath.Join(dir, "config", fmt.Sprintf("tenant-%03d", i/100), fmt.Sprintf("%s-%05d", words[r.below(500)], i))
	r = rowRng(t.Seed, tableFiles, int64(i), version)
	var b []byte
	switch kind {
	case 0:
		path += ".yaml"
		for n := 0; len(b) < size; n++ {
			b = fmt.Appendf(b, "%s_%d:\n  enabled: %t\n  weight: %d\n  prompt: \"", words[r.below(800)], n, r.below(2) == 0, r.below(1000))
			b = append(appendText(b, &r, 40+r.below(120)), "\"\n"...)
		}
	case 1:
		path += ".json"
		b = append(b, '[')
		for len(b) < size {
			b = append(appendMetadata(append(b, "\n  "...), &r, int64(i)), ',')
		}
		b = append(b[:len(b)-1], "\n]\n"...)
	default:
		path += ".md"
		for len(b) < size {
			b = append(appendText(append(b, "\n## "...), &r, 20+r.below(30)), "\n\n"...)
			b = append(appendText(b, &r, 300+r.below(1200)), '\n')
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// ChangeRandom gives one row in a hundred of every table, at random places, another content, and rewrites one small file
// in a hundred. Each round (1, 2, …) picks other rows. It returns how many pages and files changed.
func (t Tree) ChangeRandom(dir string, round int64) (int64, error) {
	return t.change(dir, round, oneInHundred)
}

// ChangeOnePlace gives a run of one row in a hundred of every table another content and appends one page in a hundred.
func (t Tree) ChangeOnePlace(dir string, round int64) (int64, error) {
	changed, err := t.change(dir, round, func(_ *rng, row, total int64) bool {
		start := total / 10 * (round % 10)
		return row >= start && row < start+total/100
	})
	if err != nil {
		return 0, err
	}
	for _, s := range shares {
		total := t.Size * s.percent / 100 / pageSize
		n := total / 100
		buf := make([]byte, n*pageSize)
		for i := range n {
			s.table.fill(buf[i*pageSize:][:pageSize], t.Seed, total+(round-1)*n+i)
		}
		last := filepath.Join(dir, "data", "base", "16384", s.node)
		if k := (total - 1) * pageSize / segmentSize; k > 0 {
			last = fmt.Sprintf("%s.%d", last, k)
		}
		info, err := os.Stat(last)
		if err != nil {
			return 0, err
		}
		if err := writeAt(last, buf, info.Size()); err != nil {
			return 0, err
		}
		changed += n
	}
	return changed, nil
}

// change rewrites the rows that pick chooses, page by page.
func (t Tree) change(dir string, round int64, pick func(r *rng, row, total int64) bool) (int64, error) {
	pieces := t.pieces(dir)
	totals := map[string]int64{}
	for _, p := range pieces {
		totals[p.node] += p.pages * int64(p.table.perPage)
	}
	counts := make([]int64, len(pieces))
	g := new(errgroup.Group)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for k, p := range pieces {
		if p.table.id == tableIndex {
			continue // an update of a column without an index leaves the index alone
		}
		g.Go(func() error {
			n, err := t.changePiece(p, round, totals[p.node], pick)
			counts[k] = n
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	files, err := t.changeSmall(dir, round, pick)
	return total + files, err
}

// ChangeSmallFiles rewrites one in a hundred of the files of WriteSmallFiles and returns how many.
func (t Tree) ChangeSmallFiles(dir string, round int64) (int64, error) {
	return t.changeSmall(dir, round, oneInHundred)
}

func oneInHundred(r *rng, _, _ int64) bool { return r.below(100) == 0 }

func (t Tree) changeSmall(dir string, round int64, pick func(r *rng, row, total int64) bool) (int64, error) {
	changed, total := int64(0), int64(t.smallFiles())
	for i := range t.smallFiles() {
		r := newRng(t.Seed, tableChange, uint64(round), tableFiles, uint64(i))
		if !pick(&r, int64(i), total) {
			continue
		}
		if err := t.writeSmall(dir, i, round); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

func (t Tree) changePiece(p piece, round, rows int64, pick func(r *rng, row, total int64) bool) (int64, error) {
	f, err := os.OpenFile(p.path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, p.pages*pageSize)
	if _, err := f.ReadAt(buf, p.at); err != nil && err != io.EOF {
		return 0, err
	}
	r := newRng(t.Seed, tableChange, uint64(round), uint64(p.table.id), uint64(p.first))
	changed := int64(0)
	for n := range p.pages {
		page := buf[n*pageSize:][:pageSize]
		touched := false
		for i := range p.table.perPage {
			if pick(&r, (p.first+n)*int64(p.table.perPage)+int64(i), rows) {
				p.table.change(page, t.Seed, p.first+n, i, round)
				touched = true
			}
		}
		if !touched {
			continue
		}
		changed++
		if _, err := f.WriteAt(page, p.at+n*pageSize); err != nil {
			return 0, err
		}
	}
	return changed, f.Close()
}

// writeAt writes b into the file at an offset; the file is made when it is not there.
func writeAt(path string, b []byte, at int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, at); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
