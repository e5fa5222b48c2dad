package executors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/holdfast-io/holdfast/policy"
)

// Rehearser is the optional second interface of an executor: it brings a restore point back to a scratch place, asks the
// policy's checks there, and leaves nothing behind.
//
// Guarantees:
//   - The source and everything that was there before stay as they are. When Rehearse returns, however it does, nothing of
//     what it made is left: no file, database, role or process. What a killed rehearsal left is removed by the next one.
//   - A check that does not hold, or that could not be asked, is a result; the other checks are asked all the same.
//   - An error that wraps ErrScratch says that the scratch place failed (no server program, no space, no right) and that
//     nothing was learnt of the restore point. When ctx ended, nothing was learnt either. Any other error is the restore
//     point's: it could not be read, or it does not restore.
type Rehearser interface {
	Rehearse(ctx context.Context, req RehearseRequest, from Supply) (RehearseResult, error)
}

// RehearseRequest asks to rehearse the restore of a point.
type RehearseRequest struct {
	Source    policy.Source // that the point was made of; zero when the policy does not declare it any more
	Backup    policy.Backup
	Rehearsal policy.Rehearsal
	WAL       WALArchive // write-ahead log that is stored of the backup; nil where there is none
	Dir       string     // an existing folder for scratch data; empty: the folder for temporary files
	Log       *slog.Logger
}

// RehearseResult is a restore that succeeded, and what the checks said.
type RehearseResult struct {
	Result
	Checks  []CheckResult // in the order of the policy
	Seconds float64       // the restore alone, without preparing the scratch place and without the checks: a measured RTO
}

// OK tells whether nothing was missing and every check holds.
func (r RehearseResult) OK() bool { return r.Failure() == nil }

// Failure names what was missing and the checks that do not hold; nil when there is none.
func (r RehearseResult) Failure() error {
	var bad []string
	for _, p := range r.Problems {
		if p.Missing {
			bad = append(bad, fmt.Sprintf("%s was not restored: %v", p.Path, p.Err))
		}
	}
	for _, c := range r.Checks {
		if !c.OK {
			bad = append(bad, c.String())
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return errors.New(strings.Join(bad, "; "))
}

// CheckResult is the answer to one check.
type CheckResult struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Text  string `json:"expect"`          // the condition as written
	Value string `json:"value,omitempty"` // what it was asked of, such as "self.value = 12, self.rows = 1"
	Error string `json:"error,omitempty"` // why it could not be asked or computed
}

// String tells a person how the check went.
func (c CheckResult) String() string {
	switch {
	case c.OK:
		return fmt.Sprintf("check %q holds: %s", c.Name, c.Value)
	case c.Error != "":
		return fmt.Sprintf("check %q could not be answered: %s", c.Name, c.Error)
	default:
		return fmt.Sprintf("check %q does not hold: %s is expected, found %s", c.Name, c.Text, c.Value)
	}
}

// Judge computes a check's condition over self. shown names the fields to tell, in order.
func Judge(c policy.Check, self map[string]any, shown ...string) CheckResult {
	out := CheckResult{Name: c.Name, Text: c.Expect.Text()}
	var parts []string
	for _, k := range shown {
		text := "null"
		switch v := self[k].(type) {
		case nil:
		case string:
			text = fmt.Sprintf("%.200q", v)
		default:
			text = fmt.Sprint(v)
		}
		parts = append(parts, "self."+k+" = "+text)
	}
	out.Value = strings.Join(parts, ", ")
	var err error
	if out.OK, err = c.Expect.Holds(self); err != nil {
		out.OK, out.Error = false, fmt.Sprintf("%s: %v (%s)", out.Text, err, out.Value)
	}
	return out
}

// Unanswered is the result of a check that could not be asked.
func Unanswered(c policy.Check, err error) CheckResult {
	return CheckResult{Name: c.Name, Text: c.Expect.Text(), Error: err.Error()}
}

// ErrScratch is wrapped by errors of Rehearse that say nothing about the restore point.
var ErrScratch = errors.New("the scratch place failed, nothing was learnt of the restore point")

// Scratch wraps an error with ErrScratch. It leaves nil, and errors that have it, as they are.
func Scratch(err error) error {
	if err == nil || errors.Is(err, ErrScratch) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrScratch, err)
}

// Watched is a Supply that remembers its first failure, so that an executor can tell damage it was handed from what its own
// side did wrong with intact content.
type Watched struct {
	Supply
	mu  sync.Mutex
	err error
}

// Failure is the first error that the supply itself answered, nil when there was none.
func (w *Watched) Failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Watched) saw(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// Entries implements Supply.
func (w *Watched) Entries(ctx context.Context, each func(Entry) error) error {
	var mine error
	err := w.Supply.Entries(ctx, func(e Entry) error {
		mine = each(e)
		return mine
	})
	if err != nil && mine == nil {
		w.saw(err)
	}
	return err
}

// Read implements Supply.
func (w *Watched) Read(ctx context.Context, want func(Entry) bool, each func(Entry, io.Reader) error) error {
	var mine error
	err := w.Supply.Read(ctx, want, func(e Entry, r io.Reader) error {
		mine = each(e, watchedReader{w, r})
		return mine
	})
	if err != nil && mine == nil {
		w.saw(err)
	}
	return err
}

type watchedReader struct {
	w *Watched
	r io.Reader
}

func (r watchedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.w.saw(err)
	}
	return n, err
}
