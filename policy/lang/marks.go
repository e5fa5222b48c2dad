package lang

import (
	"slices"
	"sync"

	"github.com/zclconf/go-cty/cty"
)

// secret marks a value that must never be shown. It is a pointer so that equal plain texts are not comparable through marks.
type secret struct {
	value string // as it entered, "" when unknown
	name  string // env("X"), var.pw: for messages
}

// GoString keeps the value out of %#v.
func (*secret) GoString() string { return "(sensitive)" }

// String keeps the value out of fmt.
func (*secret) String() string { return "(sensitive)" }

// missing marks an unknown value that stands for something that is not there; it becomes an error only where it is used.
type missing struct {
	summary, detail string
}

// secretOf finds a mark that makes v sensitive, at any depth.
func secretOf(v cty.Value) *secret {
	_, marks := v.UnmarkDeep()
	for m := range marks {
		if s, ok := m.(*secret); ok {
			return s
		}
	}
	return nil
}

// shallowSecret finds a mark that makes v itself sensitive; parts of an object that are do not count.
func shallowSecret(v cty.Value) *secret {
	_, marks := v.Unmark()
	for m := range marks {
		if s, ok := m.(*secret); ok {
			return s
		}
	}
	return nil
}

// missingOf finds what v waits for; the first by summary, so that messages are the same in each run.
func missingOf(v cty.Value) *missing {
	var found *missing
	_, marks := v.UnmarkDeep()
	for m := range marks {
		if s, ok := m.(*missing); ok && (found == nil || s.summary < found.summary) {
			found = s
		}
	}
	return found
}

// dropSecrets removes the sensitive marks only, at any depth.
func dropSecrets(v cty.Value) cty.Value {
	plain, paths := v.UnmarkDeepWithPaths()
	var keep []cty.PathValueMarks
	for _, p := range paths {
		marks := cty.ValueMarks{}
		for m := range p.Marks {
			if _, ok := m.(*secret); !ok {
				marks[m] = struct{}{}
			}
		}
		if len(marks) > 0 {
			keep = append(keep, cty.PathValueMarks{Path: p.Path, Marks: marks})
		}
	}
	return plain.MarkWithPaths(keep)
}

// recorder collects sensitive values for the redactor.
type recorder struct {
	mu    sync.Mutex
	known []string
}

func (r *recorder) add(v string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v != "" && !slices.Contains(r.known, v) {
		r.known = append(r.known, v)
	}
}

// remove forgets what turned out to be no secret.
func (r *recorder) remove(v cty.Value) {
	_, marks := v.UnmarkDeep()
	r.mu.Lock()
	defer r.mu.Unlock()
	for m := range marks {
		if s, ok := m.(*secret); ok {
			r.known = slices.DeleteFunc(r.known, func(k string) bool { return k == s.value })
		}
	}
}

func (r *recorder) values() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.known)
}

// addMarks records what entered a value that is being used as a secret.
func (r *recorder) addMarks(v cty.Value) {
	_, marks := v.UnmarkDeep()
	for m := range marks {
		if s, ok := m.(*secret); ok {
			r.add(s.value)
		}
	}
}
