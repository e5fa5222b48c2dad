package cli

import (
	"context"
	"fmt"

	"github.com/holdfast-io/holdfast/internal/diag"
)

var validateCommand = &command{
	name: "validate", group: "Main", summary: "Check the policy offline, without secrets",
	usage: "[options]",
	examples: `  holdfast validate
  holdfast validate -json`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.policyFlags(f)
		return func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("validate takes no arguments; choose the folder with -chdir=%s", args[0])
			}
			result, list := a.evaluate(pf, true)
			errors, warnings := 0, 0
			for _, d := range list {
				if d.Severity == diag.Error {
					errors++
				} else {
					warnings++
				}
			}
			if a.json {
				if list == nil {
					list = diag.List{}
				}
				if err := a.out.Document(map[string]any{
					"format_version": "1.0", "valid": errors == 0, "error_count": errors, "warning_count": warnings, "diagnostics": list,
				}); err != nil {
					return err
				}
			} else {
				a.err.Diagnostics(list)
			}
			if errors > 0 {
				return exitQuiet(codeError)
			}
			if !a.json {
				s := result.Set
				fmt.Fprintf(a.out, "%s The policy is valid: %d %s, %d %s, %d %s.\n", a.out.Green("Success!"),
					len(s.Backups), plural(len(s.Backups), "backup", "backups"), len(s.Sources), plural(len(s.Sources), "source", "sources"),
					len(s.Stores), plural(len(s.Stores), "store", "stores"))
			}
			return nil
		}
	},
}
