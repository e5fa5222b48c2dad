package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/holdfast-io/holdfast/test/ragdata"
)

// Data is made in processes of their own: Linux counts the memory of the process that starts another one as a floor of
// the other's peak, so this program must stay small while it measures.

// job is what such a process does.
type job struct {
	what string // write, random, place, catalog
	dir  string
	n    int64 // bytes of the tree; for a catalog, points of each backup
	seed int64 // round of a change
}

// elsewhere runs the job in a new process of this program.
func (j job) elsewhere(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-job="+j.what, j.dir, strconv.FormatInt(j.n, 10), strconv.FormatInt(j.seed, 10))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make data (%s): %w: %s", j.what, err, out)
	}
	return nil
}

// parseJob is elsewhere's other end.
func parseJob(what string, args []string) (j job, err error) {
	if len(args) != 3 {
		return j, fmt.Errorf("-job=%s: started by the program itself, with three arguments", what)
	}
	j = job{what: what, dir: args[0]}
	if j.n, err = strconv.ParseInt(args[1], 10, 64); err != nil {
		return j, err
	}
	j.seed, err = strconv.ParseInt(args[2], 10, 64)
	return j, err
}

// run does the job here.
func (j job) run(ctx context.Context) (err error) {
	tree := ragdata.Tree{Seed: 1, Size: j.n}
	switch j.what {
	case "write":
		return tree.Write(j.dir)
	case "random":
		_, err = tree.ChangeRandom(j.dir, j.seed)
		return err
	case "place":
		_, err = tree.ChangeOnePlace(j.dir, j.seed)
		return err
	case "catalog":
		return writeCatalog(ctx, j.dir, int(j.n))
	default:
		return fmt.Errorf("-job=%s: unknown", j.what)
	}
}
