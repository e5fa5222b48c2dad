package cli

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
)

// newCompletion is a function, as the table of commands that it prints holds it.
func newCompletion() *command {
	return &command{
		name: "completion", group: "Author", summary: "Print a completion script for bash, zsh or fish",
		usage: "bash|zsh|fish",
		examples: `  source <(holdfast completion bash)
  holdfast completion fish > ~/.config/fish/completions/holdfast.fish`,
		define: func(a *app, _ *flags) func(context.Context, []string) error {
			return func(_ context.Context, args []string) error {
				if len(args) != 1 || !slices.Contains([]string{"bash", "zsh", "fish"}, args[0]) {
					return usageError("completion needs a shell: bash, zsh or fish")
				}
				fmt.Fprint(a.out, a.completion(args[0]))
				return nil
			}
		},
	}
}

// completion writes a script from the table of commands, so that it never lags behind.
func (a *app) completion(shell string) string {
	var words []string
	var cases strings.Builder
	for _, c := range commands() {
		first, second, _ := strings.Cut(c.name, " ")
		words = append(words, first)
		f := newFlags(c.name)
		a.commonFlags(f)
		// The table of commands holds this one: its options are the common ones.
		if c.name != "completion" {
			c.define(a, f)
		}
		options := []string{}
		if second != "" {
			options = append(options, second)
		}
		f.VisitAll(func(fl *flag.Flag) {
			if f.values[fl.Name] != "" {
				options = append(options, "-"+fl.Name+"=")
			} else {
				options = append(options, "-"+fl.Name)
			}
		})
		if shell == "fish" {
			for _, o := range options {
				fmt.Fprintf(&cases, "complete -c holdfast -n '__fish_seen_subcommand_from %s' -a '%s'\n", first, o)
			}
		} else {
			fmt.Fprintf(&cases, "    %s) words=%q ;;\n", first, strings.Join(options, " "))
		}
	}
	list := strings.Join(words, " ")
	if shell == "fish" {
		return fmt.Sprintf("complete -c holdfast -f -n __fish_use_subcommand -a '%s help'\n%s", list, cases.String())
	}
	script := fmt.Sprintf(`_holdfast() {
  local words cur="${COMP_WORDS[COMP_CWORD]}"
  case "${COMP_WORDS[1]}" in
%s    *) words=%q ;;
  esac
  [ "$COMP_CWORD" -eq 1 ] && words=%q
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  [[ "${COMPREPLY[0]}" == *= ]] && compopt -o nospace
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "$cur"))
}
complete -F _holdfast holdfast
`, cases.String(), list+" help", list+" help")
	if shell == "zsh" {
		return "autoload -U +X bashcompinit && bashcompinit\n" + script
	}
	return script
}
