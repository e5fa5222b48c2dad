// Package dag walks a directed acyclic graph of named steps: a step begins when all it comes after have succeeded.
//
// It knows nothing of what the steps do. A failed step skips its dependants only; independent steps go on.
package dag

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Step is a vertex: ID is unique, After names the steps that must succeed first.
type Step struct {
	ID    string
	After []string
}

// SkippedError is the outcome of a step that did not run because a step it comes after did not succeed.
type SkippedError struct{ Because string }

// Error names the step that failed.
func (e *SkippedError) Error() string {
	return fmt.Sprintf("skipped because %q did not succeed", e.Because)
}

// Walk runs every step through run, at most limit at once (limit below 1 means 1), in the order given where dependencies
// allow. It returns each step's outcome by ID, and an error only for a graph that cannot be walked (unknown or duplicate
// IDs, cycles), before anything ran. When ctx ends, steps that have not begun get its cause as their outcome.
func Walk(ctx context.Context, steps []Step, limit int, run func(ctx context.Context, id string) error) (map[string]error, error) {
	if err := check(steps); err != nil {
		return nil, err
	}
	type outcome struct {
		id  string
		err error
	}
	done := make(map[string]error, len(steps))
	finished := make(chan outcome)
	waiting, running := steps, 0
	for len(waiting) > 0 || running > 0 {
		var later []Step
		for _, s := range waiting {
			ready, failed := readiness(s, done)
			switch {
			case failed != "":
				done[s.ID] = &SkippedError{Because: failed}
			case !ready || running >= max(limit, 1):
				later = append(later, s)
			case ctx.Err() != nil:
				done[s.ID] = context.Cause(ctx)
			default:
				running++
				go func() { finished <- outcome{s.ID, run(ctx, s.ID)} }()
			}
		}
		progressed := len(later) < len(waiting)
		waiting = later
		if running > 0 && (!progressed || len(waiting) == 0 || running >= max(limit, 1)) {
			o := <-finished
			done[o.id], running = o.err, running-1
		}
	}
	return done, nil
}

// readiness tells whether all dependencies succeeded, or which one did not.
func readiness(s Step, done map[string]error) (ready bool, failed string) {
	ready = true
	for _, id := range s.After {
		err, ok := done[id]
		if !ok {
			ready = false
		} else if err != nil {
			return false, id
		}
	}
	return ready, ""
}

// check refuses graphs that Walk could not finish.
func check(steps []Step) error {
	after := make(map[string][]string, len(steps))
	for _, s := range steps {
		if _, ok := after[s.ID]; ok {
			return fmt.Errorf("walk steps: %q is there twice", s.ID)
		}
		after[s.ID] = s.After
	}
	const visiting, visited = 1, 2
	mark := map[string]int{}
	var path []string
	var visit func(id string) error
	visit = func(id string) error {
		switch mark[id] {
		case visited:
			return nil
		case visiting:
			return errors.New("walk steps: cycle: " + strings.Join(append(path, id), " → "))
		}
		deps, ok := after[id]
		if !ok {
			return fmt.Errorf("walk steps: %q comes after unknown step %q", path[len(path)-1], id)
		}
		mark[id] = visiting
		path = append(path, id)
		for _, d := range deps {
			if err := visit(d); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		mark[id] = visited
		return nil
	}
	for _, s := range steps {
		if err := visit(s.ID); err != nil {
			return err
		}
	}
	return nil
}
