package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/lang"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// defaultState is where the catalog lives when the policy does not say.
const defaultState = "file://./.holdfast/state"

// policyFlags are the options of every command that reads the policy.
type policyFlags struct {
	vars     map[string]string
	varFiles *[]string
}

func (a *app) policyFlags(f *flags) *policyFlags {
	p := &policyFlags{vars: map[string]string{}}
	f.values["var"] = "NAME=VALUE"
	f.Func("var", "set a variable (may be repeated)", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return fmt.Errorf("-var takes NAME=VALUE")
		}
		p.vars[name] = value
		return nil
	})
	p.varFiles = f.list("var-file", "FILE", "read variables from FILE")
	return p
}

// diagnosed is an error that was already told as diagnostics.
type diagnosed struct{ list diag.List }

func (d *diagnosed) Error() string {
	n := 0
	for _, x := range d.list {
		if x.Severity == diag.Error {
			n++
		}
	}
	return fmt.Sprintf("the policy has %d %s", n, plural(n, "error", "errors"))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// loadPolicy evaluates the policy of the folder. Warnings are printed; errors are printed and returned.
func (a *app) loadPolicy(p *policyFlags, static bool) (*lang.Result, error) {
	result, list := a.evaluate(p, static)
	if len(list) > 0 && !a.json {
		a.err.Diagnostics(list)
	}
	if list.HasErrors() {
		if a.json {
			a.out.JSON(map[string]any{
				"type": "error", "format_version": "1.0", "reason": "error", "exit_code": codeError,
				"message": (&diagnosed{list}).Error(), "diagnostics": list,
			})
		}
		return nil, exitQuiet(codeError)
	}
	return result, nil
}

func (a *app) evaluate(p *policyFlags, static bool) (*lang.Result, diag.List) {
	result, list := lang.Load(a.dir, lang.Options{VarFiles: *p.varFiles, Vars: p.vars, Env: a.Env, Version: a.Version, Static: static})
	a.redactor.Watch(result.Sensitive)
	return result, list
}

// holder names this process to others: user@host.
func (a *app) holder() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return name + "@" + host
}

// openState connects to the state. With create false, a place that does not exist yet is an empty state.
func (a *app) openState(ctx context.Context, s policy.Settings, create bool) (*backend.Backend, error) {
	url := s.State
	if url == "" {
		url = defaultState
	}
	b, err := a.Open(ctx, url, connect.Options{Base: a.dir, Create: create, ReadOnly: !create})
	if errors.Is(err, blob.ErrNotFound) && !create {
		b, err = a.Open(ctx, "mem://", connect.Options{})
	}
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", url, err)
	}
	return backend.New(b, backend.Options{Clock: a.Clock, Holder: a.holder(), Version: a.Version, Log: a.log, Gone: processGone}), nil
}

// session is a policy and the catalog it is compared with.
type session struct {
	*app
	result  *lang.Result
	policy  policy.Set
	backend *backend.Backend
	catalog *state.Catalog
	known   map[string]state.Object // of the catalog when it was read: a run writes in the catalog while stores are opened
	alive   []string
	stores  *stores
	applies bool      // a plan that is made is carried out: it rests on the WAL that is there
	seen    []seenWAL // what was looked at of WAL, and is not committed yet
	given   []string  // options that another process needs to see the same policy and keys
}

// open loads policy and catalog. write tells whether the state may be written.
func (a *app) open(ctx context.Context, p *policyFlags, identities *[]string, write bool) (*session, error) {
	result, err := a.loadPolicy(p, false)
	if err != nil {
		return nil, err
	}
	s := &session{app: a, result: result, policy: result.Set}
	if s.backend, err = a.openState(ctx, s.policy.Settings, write); err != nil {
		return nil, err
	}
	if err := s.reload(ctx); err != nil {
		return nil, err
	}
	ids, err := a.identities(s.policy.Settings, identities)
	if err != nil {
		return nil, err
	}
	s.stores = newStores(s, ids)
	s.given, err = a.givenTo(p, identities)
	return s, err
}

// givenTo is how another process is told of the variables and keys of this one, wherever it runs.
func (a *app) givenTo(p *policyFlags, identities *[]string) (out []string, err error) {
	var files []string
	if identities != nil {
		files = *identities
	}
	if env := a.getenv("HOLDFAST_IDENTITY_FILE"); len(files) == 0 && env != "" {
		files = strings.Split(env, string(os.PathListSeparator))
	}
	add := func(option, name string) {
		abs, aerr := filepath.Abs(name)
		err = errors.Join(err, aerr)
		out = append(out, "-"+option+"="+abs)
	}
	for _, name := range files {
		add("identity", name)
	}
	for _, name := range *p.varFiles {
		add("var-file", name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.vars)) {
		out = append(out, "-var="+name+"="+p.vars[name])
	}
	return out, err
}

// reload reads the newest catalog, and who is working on it.
func (s *session) reload(ctx context.Context) error {
	catalog, err := s.backend.Load(ctx)
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	holder, err := s.backend.Holder(ctx)
	if err != nil {
		return fmt.Errorf("load state: %w", err)
	}
	s.catalog, s.known, s.alive = catalog, maps.Clone(catalog.Objects), backend.Alive(catalog, holder)
	return nil
}

// moment is the time a plan is made for.
func (a *app) moment(at string) (time.Time, error) {
	if at == "" {
		return a.Now().UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return time.Time{}, usageError("-at=%s is not a time; write it as 2026-11-22T02:00:00Z", at)
	}
	return t.UTC(), nil
}
