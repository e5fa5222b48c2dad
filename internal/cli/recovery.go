package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// option returns the value of an option of this restore.
func (c *restoring) option(name string) string {
	for _, o := range c.options {
		if o.name == name {
			return o.get()
		}
	}
	return ""
}

// chooseFor returns the restore point that a restore begins with: the one that was asked for, or the newest that is not behind the
// moment that recovery shall stop at.
func (s *session) chooseFor(address string, c *restoring) (state.RestorePoint, error) {
	to := c.option("to")
	if to == "" || *c.point != "latest" {
		return s.choose(address, *c.point)
	}
	moment, err := policy.ParseMoment(to)
	if err != nil {
		return state.RestorePoint{}, usageError("-to: %v", err)
	}
	before := func(p state.RestorePoint) bool {
		switch {
		case p.Base == nil:
			return false
		case !moment.Time.IsZero():
			return !p.Time.After(moment.Time)
		case moment.LSN != "":
			var at state.LSN
			return at.UnmarshalText([]byte(moment.LSN)) == nil && p.Base.End <= at
		}
		return true
	}
	fitting := slices.Clone(s.catalog.Points[address])
	if fitting = slices.DeleteFunc(fitting, func(p state.RestorePoint) bool { return !before(p) }); len(fitting) == 0 {
		return state.RestorePoint{}, fmt.Errorf("%s has no base backup from before %s; `holdfast points %s` lists what there is", address, to, address)
	}
	all := s.catalog.Points[address]
	s.catalog.Points[address] = fitting
	defer func() { s.catalog.Points[address] = all }()
	return s.choose(address, "latest")
}

// recoverFrom gives a restore of a base backup the write-ahead log: its archive, and the command that serves it to the server.
func (s *session) recoverFrom(ctx context.Context, address string, p state.RestorePoint, c *restoring, req *executors.RestoreRequest) error {
	b, declared := s.policy.Backups[address]
	if !declared {
		if c.option("to") != "" {
			return fmt.Errorf("restore %s: the policy does not declare it any more, so that its write-ahead log cannot be served: leave -to away, or declare it again", address)
		}
		return nil
	}
	all, err := s.archives(ctx, b, *c.from)
	if err != nil {
		return fmt.Errorf("restore %s: %w", address, err)
	}
	names, err := all.Files(ctx, p.Base.System)
	if err != nil {
		return fmt.Errorf("restore %s: %w", address, err)
	}
	if len(names) == 0 {
		if c.option("to") != "" {
			return fmt.Errorf("restore %s: no write-ahead log of system %s is stored, so that its base backups can be restored to their own moments only: leave -to away", address, p.Base.System)
		}
		return nil
	}
	if *c.point != "latest" && c.option("to") == "" {
		return nil // that base backup itself was asked for
	}
	if req.Options["to"] == "" {
		req.Options["to"] = "latest"
	}
	req.WAL = all
	if len(all) < len(b.Stores()) && *c.from == "" {
		req.WAL = unproven{all}
	}
	req.Options["restore_command"], err = s.restoreCommand(address, *c.from)
	return err
}

// restoreCommand is the command line by which a server gets its write-ahead log from here. The shell turns every code that is
// neither "served" nor "absent" into one that stops recovery, also when this program is gone or dies.
func (s *session) restoreCommand(address, from string) (string, error) {
	var more []string
	if from != "" {
		more = []string{"-from=" + from}
	}
	line, err := s.walCommand("fetch", address, more...)
	return line + `%f "%p"; c=$?; [ $c -le 1 ] || c=126; exit $c`, err
}

// walCommand is a command line of this program for a server's configuration, with a blank at its end.
func (s *session) walCommand(verb, address string, more ...string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return "", err
	}
	words := slices.Concat([]string{exe, "-chdir=" + dir, "wal", verb}, s.given, more, []string{address})
	var line strings.Builder
	for _, w := range words {
		line.WriteString(shellQuote(strings.ReplaceAll(w, "%", "%%")) + " ")
	}
	return line.String(), nil
}

func shellQuote(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-=:@+,%", r))
	}) < 0
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
