package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/holdfast-io/holdfast/policy/lang"
)

var fmtCommand = &command{
	name: "fmt", group: "Author", summary: "Rewrite policy files in the canonical layout",
	usage: "[options] [FILE|FOLDER...]",
	examples: `  holdfast fmt
  holdfast fmt -check -diff -recursive`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		check := f.Bool("check", false, "change nothing; exit 3 when a file is not formatted")
		diff := f.Bool("diff", false, "show what changes")
		recursive := f.Bool("recursive", false, "also format the folders below")
		return func(_ context.Context, args []string) error {
			if len(args) == 0 {
				args = []string{a.dir}
			}
			c := &formatting{app: a, check: *check, diff: *diff}
			for _, arg := range args {
				if err := c.visit(arg, *recursive); err != nil {
					return err
				}
			}
			return c.finish()
		}
	},
}

type formatting struct {
	*app
	check, diff bool
	changed     []string
	broken      bool
}

// visit formats one file, or the policy files of one folder.
func (c *formatting) visit(path string, recursive bool) error {
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("format: %w", err)
		case d.IsDir() && name != path && (!recursive || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || (name != path && !isPolicyFile(name)):
			return nil
		}
		return c.format(name)
	})
}

// isPolicyFile tells whether fmt knows the file's layout; the JSON form has none of ours.
func isPolicyFile(name string) bool {
	return strings.HasSuffix(name, ".hf.hcl") || strings.HasSuffix(name, ".hfvars")
}

func (c *formatting) format(name string) error {
	before, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	after, list := lang.Format(before, name)
	if list.HasErrors() {
		c.broken = true
		c.err.Diagnostics(list)
		return nil
	}
	if bytes.Equal(before, after) {
		return nil
	}
	c.changed = append(c.changed, name)
	if !c.json {
		fmt.Fprintln(c.out, name)
	}
	if c.diff && !c.json {
		text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
			A: difflib.SplitLines(string(before)), B: difflib.SplitLines(string(after)),
			FromFile: "old/" + name, ToFile: "new/" + name, Context: 3,
		})
		if err != nil {
			return err
		}
		fmt.Fprint(c.out, text)
	}
	if c.check {
		return nil
	}
	return rewrite(name, after)
}

// rewrite keeps the file's mode.
func rewrite(name string, data []byte) error {
	info, err := os.Stat(name)
	if err == nil {
		err = writeFile(name, data)
	}
	if err == nil {
		err = os.Chmod(name, info.Mode().Perm())
	}
	if err != nil {
		return fmt.Errorf("format: %w", err)
	}
	return nil
}

func (c *formatting) finish() error {
	if c.json {
		if c.changed == nil {
			c.changed = []string{}
		}
		if err := c.out.Document(map[string]any{"format_version": "1.0", "unformatted": c.changed, "written": !c.check}); err != nil {
			return err
		}
	}
	switch {
	case c.broken:
		return exit(codeChanges, errors.New("a file that does not parse was left as it is"))
	case c.check && len(c.changed) > 0:
		return exitQuiet(codeUnformatted)
	}
	return nil
}
