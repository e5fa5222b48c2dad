package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
)

// planFlags are the options that decide what a plan holds.
type planFlags struct {
	policy     *policyFlags
	identities *[]string
	at         *string
	targets    *[]string
	force      *[]string
	refresh    *string
	jsonInto   *string
	markdown   *string
}

func (a *app) planFlags(f *flags) *planFlags {
	return &planFlags{
		policy:     a.policyFlags(f),
		identities: a.identityFlag(f),
		at:         f.string("at", "TIME", "", "plan for this moment instead of now, as 2026-11-22T02:00:00Z"),
		targets:    f.list("target", "ADDRESS", "limit the plan to this object and what it needs"),
		force:      f.list("force", "ADDRESS", "back this up now, due or not"),
		refresh:    f.choice("refresh", "none", "look at the world first: list looks at every store's objects and at the sources, deep also hashes every stored byte", "none", "list", "deep"),
		jsonInto:   f.string("json-into", "FILE", "", "also write the plan as JSON to FILE"),
		markdown:   f.string("markdown-into", "FILE", "", "also write the plan as Markdown to FILE"),
	}
}

var planCommand = &command{
	name: "plan", group: "Main", summary: "Show what apply would do, and why",
	usage: "[options]",
	examples: `  holdfast plan
  holdfast plan -out=p.hfplan -json-into=p.json -markdown-into=p.md -detailed-exitcode
  holdfast plan -refresh=list                       # also look at stores and sources
  holdfast plan -refresh-only -refresh=deep         # only what differs from the catalog
  holdfast plan -at=2026-12-24T02:00:00Z -target=backup.app`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf := a.planFlags(f)
		out := f.string("out", "FILE", "", "save the plan to FILE for `holdfast apply FILE`")
		only := f.Bool("refresh-only", false, "show only where stores and sources differ from the catalog; implies -refresh=list")
		detailed := f.Bool("detailed-exitcode", false, "exit 2 when the plan holds what -exitcode-on names")
		on := f.string("exitcode-on", "KINDS", "changes,drift", "what -detailed-exitcode counts, of changes, drift, due, checks")
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("plan takes no arguments; limit it with -target=%s", args[0])
			}
			counted, err := exitcodeOn(*on)
			if err != nil {
				return err
			}
			if *only && *pf.refresh == "none" {
				*pf.refresh = "list"
			}
			s, err := a.open(ctx, pf.policy, pf.identities, false)
			if err != nil {
				return err
			}
			return s.showFresh(ctx, pf, *only, *out, exitOn(*detailed, counted))
		}
	},
}

// exitOn returns what turns a plan into exit code 2.
func exitOn(detailed bool, counted map[string]bool) func(plan.Plan) bool {
	return func(p plan.Plan) bool {
		return detailed && (counted["changes"] && len(p.Changes) > 0 || counted["due"] && len(p.Actions) > 0 ||
			counted["drift"] && len(p.Drift) > 0 || counted["checks"] && plan.Violations(p) > 0)
	}
}

// showFresh makes a plan and shows it. A plan that is blocked says so by its exit code, whatever else it holds.
func (s *session) showFresh(ctx context.Context, pf *planFlags, only bool, out string, differs func(plan.Plan) bool) error {
	p, err := s.plan(ctx, pf)
	if err != nil {
		return err
	}
	if only {
		p = plan.OnlyDrift(p)
	}
	if err := s.writePlan(p, pf, out); err != nil {
		return err
	}
	if err := s.showPlan(p, out); err != nil {
		return err
	}
	switch {
	case len(p.Blocks) > 0 && s.json:
		return exitQuiet(codeBlocked)
	case len(p.Blocks) > 0:
		return exit(codeBlocked, blocked(p))
	case differs(p):
		return exitQuiet(codeChanges)
	}
	return nil
}

// blocked is the error of a plan that a guard forbids.
func blocked(p plan.Plan) error {
	more := ""
	if n := len(p.Blocks) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return fmt.Errorf("the plan is blocked by %s: %s: %s%s", p.Blocks[0].Guard, p.Blocks[0].Address, p.Blocks[0].Why, more)
}

func exitcodeOn(kinds string) (map[string]bool, error) {
	counted := map[string]bool{}
	for k := range strings.SplitSeq(kinds, ",") {
		switch k {
		case "changes", "due", "drift", "checks":
			counted[k] = true
		default:
			return nil, usageError("-exitcode-on: %q is none of changes, drift, due, checks", k)
		}
	}
	return counted, nil
}

// plan computes the plan of the session's policy and catalog, and of what -refresh sees.
func (s *session) plan(ctx context.Context, pf *planFlags) (plan.Plan, error) {
	now, err := s.moment(*pf.at)
	if err != nil {
		return plan.Plan{}, err
	}
	if err := ctx.Err(); err != nil {
		return plan.Plan{}, err
	}
	if *pf.refresh != "none" || s.applies {
		s.takeWAL(ctx)
	}
	p, list := planner.Plan(planner.Input{
		Desired: s.policy, Catalog: *s.catalog, Now: now, Targets: *pf.targets, Force: *pf.force, Alive: s.alive,
		Sealed: s.stores.sealed(), Observed: s.observe(ctx, *pf.refresh),
	})
	if list.HasErrors() {
		if s.json {
			s.out.JSON(map[string]any{
				"type": "error", "format_version": "1.0", "reason": "error", "exit_code": codeError,
				"message": "no plan can be made", "diagnostics": list,
			})
			return p, exitQuiet(codeError)
		}
		s.err.Diagnostics(list)
		return p, exitQuiet(codeError)
	}
	return p, nil
}

// writePlan saves the plan in every form that was asked for. Nothing of a plan is readable by others.
func (s *session) writePlan(p plan.Plan, pf *planFlags, out string) error {
	if out != "" {
		data, err := plan.EncodeFile(p, s.policyHash(), s.Now())
		if err != nil {
			return fmt.Errorf("save plan: %w", err)
		}
		if err := writeFile(out, data); err != nil {
			return fmt.Errorf("save plan: %w", err)
		}
	}
	if *pf.jsonInto != "" {
		data, err := plan.Encode(p)
		if err == nil {
			err = writeFile(*pf.jsonInto, []byte(s.redactor.String(string(data))))
		}
		if err != nil {
			return fmt.Errorf("write plan as JSON: %w", err)
		}
	}
	if *pf.markdown != "" {
		if err := writeFile(*pf.markdown, []byte(s.redactor.String(plan.Markdown(p)))); err != nil {
			return fmt.Errorf("write plan as Markdown: %w", err)
		}
	}
	return nil
}

// writeFile replaces a file whole, readable by its owner only.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// showPlan prints the plan and what can be done with it.
func (s *session) showPlan(p plan.Plan, out string) error {
	if s.json {
		data, err := plan.Encode(p)
		if err != nil {
			return err
		}
		_, err = s.out.Write(append(data, '\n'))
		return err
	}
	s.planText(p)
	if out != "" && !s.automated() {
		fmt.Fprintf(s.out, "\nThe plan was saved to %s. To do exactly this:\n\n  holdfast apply %s\n", out, out)
	}
	return nil
}

func (s *session) planText(p plan.Plan) {
	fmt.Fprint(s.out, s.out.Symbols(plan.Text(p)))
	if len(p.Diagnostics) > 0 {
		fmt.Fprintln(s.out)
		s.out.Diagnostics(p.Diagnostics)
	}
}

// automated tells whether hints for a person are unwanted.
func (a *app) automated() bool { return a.getenv("HOLDFAST_IN_AUTOMATION") != "" }

// policyHash tells one evaluated policy from another, so that a saved plan is applied to the policy it was made from.
func (s *session) policyHash() string { return planner.PolicyHash(s.policy) }
