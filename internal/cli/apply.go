package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/files"
	"github.com/holdfast-io/holdfast/executors/postgres"
	"github.com/holdfast-io/holdfast/executors/qdrant"
	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// executorMap is every kind of source this version can read.
func executorMap() map[policy.SourceKind]executors.Executor {
	return map[policy.SourceKind]executors.Executor{
		policy.KindPostgres: postgres.New(postgres.Options{}),
		policy.KindFiles:    files.New(),
		policy.KindQdrant:   qdrant.New(qdrant.Options{}),
	}
}

// approval are the options of commands that ask before they act.
type approval struct {
	auto        *bool
	input       *bool
	lockTimeout *time.Duration
}

func (a *app) approvalFlags(f *flags) *approval {
	f.values["lock-timeout"] = "DURATION"
	return &approval{
		auto:        f.Bool("auto-approve", false, "do not ask"),
		input:       f.Bool("input", true, "ask when something must be decided; -input=false fails instead"),
		lockTimeout: f.Duration("lock-timeout", 0, "wait this long when somebody else works on the state"),
	}
}

var applyCommand = &command{
	name: "apply", group: "Main", summary: "Do what the plan says: back up, verify, expire",
	usage: "[options] [PLANFILE]",
	examples: `  holdfast apply
  holdfast apply p.hfplan
  holdfast apply -auto-approve -expect-fingerprint=9f2c…
  holdfast apply -force=backup.app`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ap := a.planFlags(f), a.approvalFlags(f)
		parallelism := f.Int("parallelism", 1, "how many independent actions run at once")
		fingerprint := f.string("expect-fingerprint", "HEX", "", "apply only a plan with this fingerprint (exit 11 otherwise)")
		f.values["parallelism"] = "N"
		return func(ctx context.Context, args []string) error {
			c := &applying{planFlags: pf, approval: ap, parallelism: *parallelism, fingerprint: *fingerprint}
			switch {
			case len(args) > 1:
				return usageError("apply takes one plan file, not %d", len(args))
			case len(args) == 1 && (*pf.at != "" || len(*pf.targets) > 0 || len(*pf.force) > 0):
				return usageError("a saved plan is applied as it is: leave -at, -target and -force away")
			case len(args) == 1:
				c.file = args[0]
			}
			return a.apply(ctx, c)
		}
	},
}

// applying is what one apply was asked for.
type applying struct {
	*planFlags
	*approval
	parallelism int
	fingerprint string
	file        string
	withheld    bool // guards of deletion block: the rest is done
}

func (a *app) apply(ctx context.Context, c *applying) error {
	if err := a.needsApproval(c.approval, c.file != ""); err != nil {
		return err
	}
	var saved *plan.File
	if c.file != "" {
		file, err := readPlan(c.file)
		if err != nil {
			return err
		}
		saved = &file
	}
	s, err := a.open(ctx, c.policy, c.identities, true)
	if err != nil {
		return err
	}
	// Who approved a fingerprint or a file saw a plan of what the catalog knew: this one must be of the same.
	s.applies = c.file == "" && c.fingerprint == ""
	p, err := s.planToApply(ctx, c, saved)
	if err != nil {
		return err
	}
	if err := s.writePlan(p, c.planFlags, ""); err != nil {
		return err
	}
	if a.json {
		a.out.JSON(map[string]any{"type": "version", "format_version": "1.0", "holdfast_version": a.Version})
		a.out.JSON(map[string]any{"type": "plan", "fingerprint": p.Fingerprint, "summary": plan.Summary(p).Line, "changes": p.Changes, "actions": p.Actions})
	} else {
		s.planText(p)
	}
	if c.file != "" || c.fingerprint != "" {
		p = plan.Approved(p)
	}
	var held error
	if len(p.Blocks) > 0 {
		held = exit(codeBlocked, blocked(p))
		if !plan.Withheld(p) {
			return held
		}
		p, c.withheld = plan.WithoutDeletions(p), true
	}
	if p.Empty() {
		return errors.Join(held, s.bookWAL(ctx))
	}
	if held != nil && !a.json {
		a.err.Warning("a guard blocks what this plan would delete: nothing is deleted, and the edits that ask for it are not applied; the rest is done")
	}
	if c.file == "" {
		if err := a.approve(c.approval, "Do you want holdfast to do this?"); err != nil {
			return err
		}
	}
	return errors.Join(held, s.carryOut(ctx, c, p, saved))
}

// needsApproval fails before any work when nobody can be asked.
func (a *app) needsApproval(ap *approval, approved bool) error {
	if approved || *ap.auto {
		return nil
	}
	if a.json {
		return exit(codeApproval, errors.New("with -json nobody is asked: pass -auto-approve or a saved plan"))
	}
	if !*ap.input {
		return exit(codeApproval, errors.New("nobody may be asked (-input=false): pass -auto-approve or a saved plan"))
	}
	return nil
}

// approve asks for the word yes.
func (a *app) approve(ap *approval, question string) error {
	if *ap.auto {
		return nil
	}
	fmt.Fprintf(a.err, "\n%s\n  Only \"yes\" will be accepted.\n\n  %s ", a.err.Bold(question), a.err.Bold("Enter a value:"))
	line, err := bufio.NewReader(a.Stdin).ReadString('\n')
	fmt.Fprintln(a.err)
	if strings.TrimSpace(line) == "yes" {
		return nil
	}
	if err != nil && line == "" {
		return exit(codeApproval, errors.New("nobody answered: pass -auto-approve where there is no terminal"))
	}
	return exit(codeApproval, errors.New("declined: nothing was done"))
}

func readPlan(name string) (plan.File, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return plan.File{}, fmt.Errorf("read plan: %w", err)
	}
	file, err := plan.DecodeFile(data)
	if err != nil {
		return plan.File{}, fmt.Errorf("read plan %s: %w", name, err)
	}
	return file, nil
}

// planToApply is the saved plan, when it still holds, or a new one.
func (s *session) planToApply(ctx context.Context, c *applying, saved *plan.File) (plan.Plan, error) {
	if saved == nil {
		p, err := s.plan(ctx, c.planFlags)
		if err == nil && c.fingerprint != "" && p.Fingerprint != c.fingerprint {
			err = exit(codeStale, fmt.Errorf("the plan has fingerprint %s, expected was %s: the policy or the catalog changed since the plan was approved; plan again", p.Fingerprint, c.fingerprint))
		}
		return p, err
	}
	now := s.Now().UTC()
	switch err := plan.Stale(saved.Plan, *s.catalog); {
	case err != nil:
		return saved.Plan, exit(codeStale, fmt.Errorf("%s cannot be applied: %w", c.file, err))
	case saved.PolicyHash != s.policyHash():
		return saved.Plan, exit(codeStale, fmt.Errorf("%s cannot be applied: the policy was edited after the plan was made; plan again", c.file))
	case now.After(saved.Expires):
		return saved.Plan, exit(codeStale, fmt.Errorf("%s cannot be applied: it expired at %s; plan again", c.file, view.Time(saved.Expires)))
	case c.fingerprint != "" && saved.Plan.Fingerprint != c.fingerprint:
		return saved.Plan, exit(codeStale, fmt.Errorf("%s has fingerprint %s, expected was %s", c.file, saved.Plan.Fingerprint, c.fingerprint))
	}
	return saved.Plan, nil
}

// carryOut takes the lease, makes sure that the plan still holds, and runs it.
func (s *session) carryOut(ctx context.Context, c *applying, p plan.Plan, saved *plan.File) error {
	run := newID(s.Now())
	lease, err := s.backend.Lease(ctx, state.LeaseInfo{Who: s.holder(), Operation: "apply", Run: run, Process: processToken()}, *c.lockTimeout)
	if err != nil {
		return err
	}
	defer func() {
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			s.log.Error("release the lock on the state", "err", err)
		}
	}()
	if p, err = s.confirm(ctx, c, p, saved); err != nil {
		return err
	}
	progress := view.NewProgress(s.out, s.err, s.json, s.Now)
	if !s.json {
		fmt.Fprintln(s.out)
	}
	runner := &apply.Runner{
		Policy: s.policy, Objects: planner.Objects(s.policy), Executors: executorMap(), Repositories: s.stores, Lease: lease,
		Refresh: s.backend.Refresh, StillExpires: s.stillExpires, StillExpiresWAL: s.stillExpiresWAL, Events: progress,
		Seen: func(c *state.Catalog) { book(c, s.seen) }, LookAtWAL: s.newWAL, Log: s.log, Now: s.Now, NewPointID: newID,
		Parallelism: c.parallelism, RunID: run, Who: s.holder(),
	}
	outcome, err := runner.Run(ctx, s.catalog, p)
	s.err.Status("")
	return s.applied(outcome, p, err)
}

// confirm repeats the plan under the lease when the state moved since it was shown: the same plan goes on, another is refused.
func (s *session) confirm(ctx context.Context, c *applying, p plan.Plan, saved *plan.File) (plan.Plan, error) {
	lineage, serial := s.catalog.Lineage, s.catalog.Serial
	if err := s.reload(ctx); err != nil {
		return p, err
	}
	s.alive = nil // this process holds the lease: every pending run is dead
	if s.catalog.Lineage == lineage && s.catalog.Serial == serial {
		return p, nil
	}
	if saved != nil {
		return s.planToApply(ctx, c, saved)
	}
	fresh, err := s.plan(ctx, c.planFlags)
	if err != nil {
		return p, err
	}
	if c.file != "" || c.fingerprint != "" {
		fresh = plan.Approved(fresh)
	}
	if c.withheld {
		fresh = plan.WithoutDeletions(fresh)
	}
	if difference := plan.Diff(p, fresh); difference != "" {
		return p, exit(codeStale, fmt.Errorf("the state changed while the plan waited for approval, and the plan is another now; run apply again\n%s", difference))
	}
	return fresh, nil
}

func (s *session) stillExpires(c *state.Catalog, now time.Time, planned []plan.Action) []plan.Action {
	return planner.StillExpires(planner.Input{Desired: s.policy, Catalog: *c, Now: now}, planned)
}

func (s *session) stillExpiresWAL(c *state.Catalog, now time.Time, planned []plan.Action) []plan.Action {
	return planner.StillExpiresWAL(planner.Input{Desired: s.policy, Catalog: *c, Now: now}, planned)
}

// newWAL looks at WAL when a run ends.
func (s *session) newWAL(ctx context.Context, c *state.Catalog) func(*state.Catalog) {
	seen := s.lookAtWAL(ctx, c)
	if len(seen) == 0 {
		return nil
	}
	return func(c *state.Catalog) { book(c, seen) }
}

// applied tells how the run ended.
func (s *session) applied(o apply.Outcome, p plan.Plan, err error) error {
	if s.json {
		counts := map[string]int{}
		for status, n := range o.Counts {
			counts[string(status)] = n
		}
		s.out.JSON(map[string]any{"type": "apply_summary", "run": o.Run.ID, "status": o.Run.Status, "actions": counts, "changes": len(p.Changes)})
	} else if err == nil {
		fmt.Fprintf(s.out, "\n%s\n", s.summaryLine(o, p))
	}
	switch {
	case err != nil:
		return err
	case o.Counts[state.RunFailed]+o.Counts[state.RunPending] > 0:
		return exit(codeFailures, s.failures(o))
	case o.Counts[state.RunInterrupted] > 0:
		return exit(codeInterrupted, errors.New("interrupted: what was finished is kept, the rest is done by the next apply"))
	}
	return nil
}

func (s *session) summaryLine(o apply.Outcome, p plan.Plan) string {
	word := s.out.Green("Apply complete!")
	if o.Run.Status != state.RunOK {
		word = s.out.Red("Apply incomplete.")
	}
	line := fmt.Sprintf("%s Changes: %d. Actions: %d done", word, len(p.Changes), o.Counts[state.RunOK])
	for _, status := range slices.Sorted(maps.Keys(o.Counts)) {
		if status != state.RunOK {
			line += fmt.Sprintf(", %d %s", o.Counts[status], status)
		}
	}
	return line + "."
}

func (s *session) failures(o apply.Outcome) error {
	var lines []string
	for _, ra := range o.Run.Actions {
		if ra.Status == state.RunFailed || ra.Status == state.RunPending {
			subject := ra.Kind + " " + ra.Address + ": "
			lines = append(lines, subject+strings.TrimPrefix(ra.Error, subject))
		}
	}
	return fmt.Errorf("%d of %d actions failed:\n  %s", len(lines), len(o.Run.Actions), strings.Join(lines, "\n  "))
}

// newID names restore points and runs: the moment, and six random characters.
func newID(t time.Time) string {
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		panic(err) // crypto/rand never fails on the systems Go supports
	}
	suffix := strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))[:6]
	return t.UTC().Format("20060102T150405Z") + "-" + suffix
}

var _ apply.Lease = (*backend.Leased)(nil)
