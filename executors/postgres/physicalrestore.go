package postgres

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
	"github.com/holdfast-io/holdfast/policy"
)

// Options of a restore request for base backups, by key.
const (
	optionTo        = "to"              // latest, a time, an LSN, name:… or xid:…; absent: where the base backup is consistent
	optionTimeline  = "timeline"        // latest, current or a number
	optionInclusive = "inclusive"       // "false": stop just before the target
	optionAction    = "action"          // promote, pause or shutdown, when the target is reached
	optionDelta     = "delta"           // "true": files that are right already are taken from what is replaced
	optionCommand   = "restore_command" // how the server fetches WAL; absent: what the point carries must do
)

// recovery is where a restored server stops.
type recovery struct {
	setting, value string     // recovery_target…; empty: the end of the WAL
	target         wal.Target // the same, for all but the end and the moment of the base backup
	timeline       string
	inclusive      bool
	action         string
	command        string
}

// parseRecovery reads a request's options.
func parseRecovery(options map[string]string) (recovery, error) {
	r := recovery{timeline: "latest", inclusive: options[optionInclusive] != "false", action: "promote", command: options[optionCommand]}
	if v := options[optionTimeline]; v != "" {
		r.timeline = v
	}
	if v := options[optionAction]; v != "" {
		r.action = v
	}
	if r.action != "promote" && r.action != "pause" && r.action != "shutdown" {
		return r, fmt.Errorf("action %q is unknown: promote, pause or shutdown", r.action)
	}
	to := options[optionTo]
	if to == "" {
		r.setting, r.value = "recovery_target", "immediate"
		return r, nil
	}
	target, err := policy.ParseMoment(to)
	if err != nil {
		return r, err
	}
	switch {
	case target.Latest:
	case !target.Time.IsZero():
		r.setting, r.value = "recovery_target_time", target.Time.UTC().Format("2006-01-02 15:04:05.999999")+"+00"
		r.target.Time = target.Time.Truncate(time.Microsecond)
	case target.LSN != "":
		r.setting, r.value = "recovery_target_lsn", target.LSN
		r.target.LSN, err = wal.ParseLSN(target.LSN)
	case target.Name != "":
		r.setting, r.value = "recovery_target_name", target.Name
		r.target.Name = target.Name
	case target.XID != 0:
		r.setting, r.value = "recovery_target_xid", fmt.Sprint(target.XID)
		r.target.XID = uint32(target.XID) // WAL knows transactions without their epoch
	}
	r.target.Exclusive = !r.inclusive
	return r, err
}

// what names the target for people.
func (r recovery) what() string {
	return strings.TrimPrefix(r.setting, "recovery_target_") + " " + r.value
}

// settings are the lines of postgresql.auto.conf. PostgreSQL refuses a second target, also an empty one.
func (r recovery) settings() string {
	var b strings.Builder
	b.WriteString("# written by holdfast\n")
	line := func(name, value string) { fmt.Fprintf(&b, "%s = '%s'\n", name, quoteConfig(value)) }
	line("restore_command", r.command)
	line("recovery_target_timeline", r.timeline)
	line("recovery_target_action", r.action)
	line("recovery_target_inclusive", map[bool]string{true: "on", false: "off"}[r.inclusive])
	if r.setting != "" {
		line(r.setting, r.value)
	}
	return b.String()
}

// quoteConfig makes a text the inside of a quoted value of a configuration file (guc-file.l: quotes and backslashes doubled).
func quoteConfig(s string) string {
	return strings.NewReplacer(`'`, `''`, `\`, `\\`, "\n", `\n`).Replace(s)
}

// physicalPlan is a data directory that will be written, and what the server on it will do.
type physicalPlan struct {
	*basebackup.Restoration
	rec   recovery
	reach *reach // nil when there is no archive to look into
	ctl   tool   // pg_ctl, where the server shall be started
}

// planPhysical decides what a restore of a base backup writes. It writes nothing, and refuses what cannot be recovered to.
func (x *Executor) planPhysical(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (*physicalPlan, error) {
	if req.Target.Root == "" || req.Target.URL != nil {
		return nil, errors.New("restore a base backup: name where to: a data directory (-target=data_dir=/var/lib/postgresql/restored), or a database (-target=postgres://USER@HOST/DATABASE)")
	}
	if len(req.Only) > 0 {
		return nil, errors.New("restore a base backup: a data directory comes back whole; -only is for a target that is a database URL")
	}
	p := &physicalPlan{}
	for _, step := range []func(context.Context, *Executor, executors.RestoreRequest, executors.Supply) error{p.readTarget, p.findReach, p.findStart} {
		if err := step(ctx, x, req, from); err != nil {
			return nil, fmt.Errorf("restore a base backup: %w", err)
		}
	}
	if p.rec.command != "" {
		p.Recover(p.rec.settings())
	}
	return p, nil
}

func (p *physicalPlan) readTarget(ctx context.Context, _ *Executor, req executors.RestoreRequest, from executors.Supply) error {
	var err error
	if p.rec, err = parseRecovery(req.Options); err != nil {
		return err
	}
	dir, err := filepath.Abs(req.Target.Root)
	if err != nil {
		return err
	}
	if p.Restoration, err = basebackup.Plan(ctx, from, basebackup.Target{Dir: dir, Spaces: req.Target.Spaces, Replace: req.Replace}); err != nil {
		return err
	}
	if req.Options[optionDelta] == "true" {
		if !req.Replace {
			return errors.New("-delta takes files from what is replaced, and goes with -replace")
		}
		p.Delta()
	}
	if p.rec.command == "" && (!p.Document.CarriesWAL || req.Options[optionTo] != "") {
		return errors.New("no WAL is stored for this backup, so that it can be restored to its own moment only: leave -to away")
	}
	return nil
}

// findReach proves that the stored WAL goes where recovery shall stop. The timeline is settled here, so that the server follows
// the one that was looked at, also when another begins meanwhile.
func (p *physicalPlan) findReach(ctx context.Context, _ *Executor, req executors.RestoreRequest, from executors.Supply) error {
	if req.WAL == nil || p.rec.command == "" {
		return nil
	}
	c, err := readChain(ctx, req.WAL, from, p.Document, p.rec.timeline)
	if err != nil {
		return err
	}
	found, err := c.reach(ctx, p.rec)
	if err != nil {
		return err
	}
	p.reach, p.rec.timeline = &found, fmt.Sprint(c.history.Timeline)
	return nil
}

func (x *Executor) previewPhysical(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Preview, error) {
	p, err := x.planPhysical(ctx, req, from)
	if err != nil {
		return executors.Preview{}, err
	}
	out := executors.Preview{Target: req.Target.Root, Items: p.Items, Bytes: p.Bytes}
	out.Creates, out.Replaces = p.Creates()
	out.Notes = pointNotes(p.Document, p.rec)
	if p.reach != nil {
		out.Notes = append(out.Notes, p.reach.notes()...)
	}
	out.Notes = append(out.Notes, p.startNote(ctx, x, req.Target.Root))
	return out, nil
}

// pointNotes tells what a base backup is and where it recovers to.
func pointNotes(d *basebackup.Document, rec recovery) []string {
	notes := []string{fmt.Sprintf("base backup of PostgreSQL %s, system %s, timeline %d, WAL from %s, consistent at %s", d.Version, d.System, d.Timeline, d.Start, d.End)}
	switch {
	case rec.command == "":
		notes = append(notes, "recovers to the moment of the base backup with the WAL that it carries")
	case rec.setting == "":
		notes = append(notes, "recovers to the end of the WAL that is stored, on timeline "+rec.timeline)
	default:
		notes = append(notes, fmt.Sprintf("recovers to %s = '%s', on timeline %s, then: %s", rec.setting, rec.value, rec.timeline, rec.action))
	}
	if len(d.Damaged) > 0 {
		notes = append(notes, fmt.Sprintf("THE SERVER REPORTED DAMAGED PAGES when it was backed up: %s", executors.ListSome(d.Damaged, 3)))
	}
	return notes
}

func (x *Executor) restorePhysical(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Result, error) {
	p, err := x.planPhysical(ctx, req, from)
	if err != nil {
		return executors.Result{}, err
	}
	if err := p.Write(ctx); err != nil {
		return executors.Result{}, fmt.Errorf("restore a base backup: %w", err)
	}
	res := executors.Result{Items: p.Items, Bytes: p.Bytes, Version: p.Document.Version, Position: p.Document.End, Meta: from.Meta()}
	if p.Reused > 0 {
		res.Problems = append(res.Problems, executors.Problem{Path: req.Target.Root, Err: fmt.Errorf("%s were right already and taken from what was there", policy.FormatBytes(p.Reused))})
	}
	if p.ctl.path == "" {
		return res, nil
	}
	r, err := p.startServer(ctx, req)
	if err != nil {
		return executors.Result{}, fmt.Errorf("the data directory is restored; start a server on it: %w", err)
	}
	res.Position, res.Time = r.lsn, r.commit
	res.Problems = append(res.Problems, executors.Problem{Path: "recovery", Err: errors.New(r.String())})
	return res, nil
}
