package cli

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// commands lists every verb in the order of help.
func commands() []*command {
	return []*command{
		initCommand, validateCommand, planCommand, applyCommand, statusCommand, driftCommand,
		restoreCommand, walReceiveCommand, walPushCommand, walFetchCommand, verifyCommand, holdCommand, releaseCommand, checkCommand, importCommand, bootstrapCommand,
		showCommand, pointsCommand, runsCommand,
		fmtCommand, keyCommand, rotateCommand, schemaCommand, newCompletion(), versionCommand,
	}
}

// find returns the command that args name; a name may have two words.
func find(name string, rest []string) (*command, []string, error) {
	var names, longer []string
	for _, c := range commands() {
		first, second, two := strings.Cut(c.name, " ")
		names = append(names, first)
		switch {
		case !two && c.name == name:
			return c, rest, nil
		case two && first == name:
			if len(rest) > 0 && rest[0] == second {
				return c, rest[1:], nil
			}
			if len(rest) > 0 && (rest[0] == "-h" || rest[0] == "-help" || rest[0] == "--help") {
				return c, rest, nil
			}
			longer = append(longer, "holdfast "+c.name)
		}
	}
	if len(longer) > 0 {
		return nil, nil, usageError("holdfast %s needs a word more: %s", name, strings.Join(longer, " or "))
	}
	if s := suggest(name, names); s != "" {
		return nil, nil, usageError("there is no command %q; did you mean %q? `holdfast help` lists all", name, s)
	}
	return nil, nil, usageError("there is no command %q; `holdfast help` lists all", name)
}

const exitCodes = `Exit codes:
  0  done, or nothing to do        11  stale plan or other fingerprint
  1  error                         12  approval needed or declined
  2  plan -detailed-exitcode,      13  blocked by a guard or check
     drift: there is some          14  applied with failures
  3  fmt -check: not formatted     130 interrupted
  10 the state is locked           126 wal fetch: not served, and not absent
`

func (a *app) help(w io.Writer) {
	fmt.Fprintf(w, "Terraform for backups: declare what to protect, plan, apply, prove, restore.\n\nUsage: holdfast [-chdir=DIR] COMMAND [options] [arguments]\n")
	for _, group := range []string{"Main", "Data", "Inspect", "Author"} {
		fmt.Fprintf(w, "\n%s:\n", group)
		for _, c := range commands() {
			if c.group == group {
				fmt.Fprintf(w, "  %-13s %s\n", c.name, c.summary)
			}
		}
	}
	fmt.Fprintf(w, "\n`holdfast help COMMAND` tells options and examples.\n\n%s", exitCodes)
}

func (a *app) helpFor(args []string) error {
	if len(args) == 0 {
		a.help(a.out)
		return nil
	}
	c, _, err := find(args[0], args[1:])
	if err != nil && len(args) == 1 {
		for _, other := range commands() {
			if strings.HasPrefix(other.name, args[0]+" ") {
				c, err = other, nil
			}
		}
	}
	if err != nil {
		return err
	}
	f := newFlags(c.name)
	a.commonFlags(f)
	c.define(a, f)
	a.commandHelp(a.out, c, f)
	return nil
}

func (a *app) commandHelp(w io.Writer, c *command, f *flags) {
	fmt.Fprintf(w, "%s.\n\nUsage: holdfast %s %s\n\nOptions:\n", c.summary, c.name, c.usage)
	var lines []*flag.Flag
	f.VisitAll(func(fl *flag.Flag) { lines = append(lines, fl) })
	slices.SortFunc(lines, func(x, y *flag.Flag) int { return strings.Compare(x.Name, y.Name) })
	for _, fl := range lines {
		name := "-" + fl.Name
		if v := f.values[fl.Name]; v != "" {
			name += "=" + v
		}
		text := fl.Usage
		if fl.DefValue != "" && fl.DefValue != "false" && fl.DefValue != "0" && fl.DefValue != "0s" {
			text += " (default " + fl.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-28s %s\n", name, text)
	}
	fmt.Fprintf(w, "\nExamples:\n%s\n\n%s", c.examples, exitCodes)
}
