package postgres

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
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
	setting, value string // recovery_target…; empty: the end of the WAL
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
	case target.LSN != "":
		r.setting, r.value = "recovery_target_lsn", target.LSN
	case target.Name != "":
		r.setting, r.value = "recovery_target_name", target.Name
	case target.XID != 0:
		r.setting, r.value = "recovery_target_xid", fmt.Sprint(target.XID)
	}
	return r, nil
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

// planPhysical decides what a restore of a base backup writes.
func (x *Executor) planPhysical(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (*basebackup.Restoration, recovery, error) {
	if req.Target.Root == "" || req.Target.URL != nil {
		return nil, recovery{}, errors.New("restore a base backup: name where to: a data directory (-target=data_dir=/var/lib/postgresql/restored), or a database (-target=postgres://USER@HOST/DATABASE)")
	}
	if len(req.Only) > 0 {
		return nil, recovery{}, errors.New("restore a base backup: a data directory comes back whole; -only is for a target that is a database URL")
	}
	rec, err := parseRecovery(req.Options)
	if err != nil {
		return nil, rec, fmt.Errorf("restore a base backup: %w", err)
	}
	dir, err := filepath.Abs(req.Target.Root)
	if err != nil {
		return nil, rec, err
	}
	r, err := basebackup.Plan(ctx, from, basebackup.Target{Dir: dir, Spaces: req.Target.Spaces, Replace: req.Replace})
	if err != nil {
		return nil, rec, fmt.Errorf("restore a base backup: %w", err)
	}
	if req.Options[optionDelta] == "true" {
		if !req.Replace {
			return nil, rec, errors.New("restore a base backup: -delta takes files from what is replaced, and goes with -replace")
		}
		r.Delta()
	}
	if rec.command != "" {
		r.Recover(rec.settings())
	} else if !r.Document.CarriesWAL || req.Options[optionTo] != "" {
		return nil, rec, errors.New("restore a base backup: no WAL is stored for this backup, so that it can be restored to its own moment only: leave -to away")
	}
	return r, rec, nil
}

func (x *Executor) previewPhysical(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (executors.Preview, error) {
	r, rec, err := x.planPhysical(ctx, req, from)
	if err != nil {
		return executors.Preview{}, err
	}
	out := executors.Preview{Target: req.Target.Root, Items: r.Items, Bytes: r.Bytes}
	out.Creates, out.Replaces = r.Creates()
	out.Notes = pointNotes(r.Document, rec)
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
	r, _, err := x.planPhysical(ctx, req, from)
	if err != nil {
		return executors.Result{}, err
	}
	if err := r.Write(ctx); err != nil {
		return executors.Result{}, fmt.Errorf("restore a base backup: %w", err)
	}
	res := executors.Result{Items: r.Items, Bytes: r.Bytes, Version: r.Document.Version, Position: r.Document.End, Meta: from.Meta()}
	if r.Reused > 0 {
		res.Problems = append(res.Problems, executors.Problem{Path: req.Target.Root, Err: fmt.Errorf("%s were right already and taken from what was there", policy.FormatBytes(r.Reused))})
	}
	return res, nil
}
