package cli

import "context"

var driftCommand = &command{
	name: "drift", group: "Main", summary: "Tell where stores and sources differ from the catalog (exit 2 when they do)",
	usage: "[-deep] [options]",
	examples: `  holdfast drift                  # every store's objects, every source: for a nightly job in CI
  holdfast drift -deep            # also hash every stored byte
  holdfast drift -json | jq .drift`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.planFlags(f)
		deep := f.Bool("deep", false, "hash every stored byte, as -refresh=deep")
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("drift takes no arguments; limit it with -target=%s", args[0])
			}
			switch {
			case *deep:
				*pf.refresh = "deep"
			case *pf.refresh == "none":
				*pf.refresh = "list"
			}
			s, err := a.open(ctx, pf.policy, pf.identities, false)
			if err != nil {
				return err
			}
			return s.showFresh(ctx, pf, true, "", exitOn(true, map[string]bool{"drift": true}))
		}
	},
}
