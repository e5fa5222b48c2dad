// Package redact keeps secrets out of every output stream: the last line of defence, after references and marks.
//
// It knows values, not policies: whoever reveals a secret tells the Redactor, and every stream is written through it.
package redact

import (
	"cmp"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Mask is written in place of a secret.
const Mask = "(sensitive)"

// minLength is the shortest value that is masked: shorter ones would mask ordinary text and hide nothing.
const minLength = 4

// Redactor holds the live secret values. The zero value is ready; methods are safe for concurrent use.
type Redactor struct {
	mu       sync.RWMutex
	seen     map[string]bool
	replacer *strings.Replacer
	watched  []func() []string
}

// Watch masks the values that list returns, now and whenever something is about to be printed: a secret that is
// revealed between two lines is masked in the second. list must be safe for concurrent use.
func (r *Redactor) Watch(list func() []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched = append(r.watched, list)
}

// Add makes value, its URL-escaped forms and, where it is a URL with a password, that password unprintable from now on.
func (r *Redactor) Add(value string) {
	forms := []string{value, url.QueryEscape(value), url.PathEscape(value)}
	if u, err := url.Parse(value); err == nil && u.User != nil {
		if p, ok := u.User.Password(); ok {
			forms = append(forms, p, url.QueryEscape(p), url.PathEscape(p))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]bool{}
	}
	changed := false
	for _, f := range forms {
		if len(f) >= minLength && !r.seen[f] {
			r.seen[f], changed = true, true
		}
	}
	if changed {
		r.replacer = newReplacer(r.seen)
	}
}

// newReplacer prefers longer values, so that a secret that contains another is masked whole.
func newReplacer(values map[string]bool) *strings.Replacer {
	sorted := make([]string, 0, len(values))
	for v := range values {
		sorted = append(sorted, v)
	}
	slices.SortFunc(sorted, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(sorted))
	for _, v := range sorted {
		pairs = append(pairs, v, Mask)
	}
	return strings.NewReplacer(pairs...)
}

// String returns s with every secret masked.
func (r *Redactor) String(s string) string {
	r.mu.RLock()
	watched := r.watched
	r.mu.RUnlock()
	for _, list := range watched {
		for _, v := range list() {
			r.Add(v)
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.replacer == nil {
		return s
	}
	return r.replacer.Replace(s)
}

// Writer returns a writer that masks secrets in what it passes on. A secret split over two writes is masked only when
// each write holds whole lines, which every view and log handler of holdfast does.
func (r *Redactor) Writer(w io.Writer) io.Writer { return &writer{r: r, w: w} }

type writer struct {
	r *Redactor
	w io.Writer
}

func (w *writer) Write(p []byte) (int, error) {
	out := w.r.String(string(p))
	if _, err := io.WriteString(w.w, out); err != nil {
		return 0, err
	}
	return len(p), nil
}
