package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// flags is a flag set in Terraform's manner: -out=x and --out=x, before or after the arguments.
type flags struct {
	*flag.FlagSet
	values map[string]string // names of values, for help
}

var errHelp = errors.New("help wanted")

func newFlags(name string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), values: map[string]string{}}
	f.SetOutput(io.Discard)
	return f
}

// parse returns the arguments that are not options. After "--" everything is an argument.
func (f *flags) parse(args []string) ([]string, error) {
	var positional []string
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, errHelp
			}
			return nil, f.explain(err)
		}
		rest := f.Args()
		if len(rest) == 0 {
			break
		}
		if i := len(args) - len(rest); i > 0 && args[i-1] == "--" {
			return append(positional, rest...), nil
		}
		positional, args = append(positional, rest[0]), rest[1:]
	}
	return positional, nil
}

// explain adds a suggestion to an unknown option.
func (f *flags) explain(err error) error {
	const unknown = "flag provided but not defined: -"
	name, ok := strings.CutPrefix(err.Error(), unknown)
	if !ok {
		return err
	}
	var names []string
	f.VisitAll(func(fl *flag.Flag) { names = append(names, fl.Name) })
	if s := suggest(name, names); s != "" {
		return fmt.Errorf("unknown option -%s; did you mean -%s?", name, s)
	}
	return fmt.Errorf("unknown option -%s", name)
}

func (f *flags) string(name, value, def, usage string) *string {
	f.values[name] = value
	return f.String(name, def, usage)
}

func (f *flags) stringFunc(name, value, usage string, fn func(string)) {
	f.values[name] = value
	f.Func(name, usage, func(s string) error { fn(s); return nil })
}

func (f *flags) boolFunc(name, usage string, fn func(bool)) {
	f.BoolFunc(name, usage, func(s string) error {
		v, err := strconv.ParseBool(s)
		fn(v)
		return err
	})
}

// list is an option that may be given several times.
func (f *flags) list(name, value, usage string) *[]string {
	f.values[name] = value
	var l []string
	f.Func(name, usage+" (may be repeated)", func(s string) error {
		l = append(l, s)
		return nil
	})
	return &l
}

// choice is an option with a fixed set of values.
func (f *flags) choice(name, def, usage string, allowed ...string) *string {
	f.values[name] = strings.Join(allowed, "|")
	v := def
	if def != "" {
		usage += " (default " + def + ")"
	}
	f.Func(name, usage, func(s string) error {
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("%q is none of %s", s, strings.Join(allowed, ", "))
		}
		v = s
		return nil
	})
	return &v
}
