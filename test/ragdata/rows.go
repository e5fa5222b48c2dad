package ragdata

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Dimensions is the length of an embedding.
const Dimensions = 384

// The tables, as they take part in the seed of each row.
const (
	tableAccounts = iota + 1
	tableDocuments
	tableChunks
	tableIndex
	tableFiles
	tableChange
	tablePoints
)

// Each row is a function of the seed, its table, its number and a version: version 0 is how it was loaded, a change
// gives it another. Nothing needs to be remembered to make it again.
func rowRng(seed uint64, table int, row, version int64) rng {
	return newRng(seed, uint64(table), uint64(row), uint64(version))
}

// chunksPerDocument is how many chunks one document was cut into.
const chunksPerDocument = 8

var (
	languages = []string{"en", "de", "fr", "es", "uk", "pl"}
	kinds     = []string{"handbook", "ticket", "contract", "faq", "minutes", "datasheet"}
	models    = []string{"bge-small-en-v1.5", "all-MiniLM-L6-v2"}
	epoch     = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// appendMetadata appends a chunk's metadata as JSON.
func appendMetadata(b []byte, r *rng, row int64) []byte {
	b = append(b, `{"kind": "`...)
	b = append(b, kinds[r.below(len(kinds))]...)
	b = append(b, `", "language": "`...)
	b = append(b, languages[r.below(len(languages))]...)
	b = append(b, `", "page": `...)
	b = strconv.AppendInt(b, int64(r.below(400)), 10)
	b = append(b, `, "tokens": `...)
	b = strconv.AppendInt(b, int64(200+r.below(200)), 10)
	b = append(b, `, "model": "`...)
	b = append(b, models[row%2]...)
	b = append(b, `", "sha1": "`...)
	b = fmt.Appendf(b, "%016x%016x", r.next(), r.next())
	b = append(b, `", "tags": ["`...)
	b = append(b, words[r.below(300)]...)
	b = append(b, `", "`...)
	b = append(b, words[r.below(300)]...)
	return append(b, `"]}`...)
}

// embedding fills v with a vector of length 1: a topic and noise around it, as models make them.
func embedding(v []float32, r *rng) {
	topic := newRng(7, uint64(r.below(64)))
	sum := 0.0
	for i := range v {
		x := topic.normal() + r.normal()
		v[i] = float32(x)
		sum += x * x
	}
	scale := float32(1 / math.Sqrt(sum))
	for i := range v {
		v[i] *= scale
	}
}
