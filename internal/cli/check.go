package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/policy"
)

var checkCommand = &command{
	name: "check", group: "Data", summary: "Look at the structure of a repository, with or without a policy",
	usage: "URL|STORE [-deep] [options]",
	examples: `  holdfast check s3://acme-backups/production?region=eu-central-1 -identity=host.key
  holdfast check store.primary
  holdfast check file:///mnt/backups -deep             # also hash every stored byte; works without any key`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		deep := f.Bool("deep", false, "also hash every stored byte")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("check takes the URL of a repository, or the address of a store of the policy")
			}
			r, done, err := a.openToCheck(ctx, args[0], pf, ids)
			if err != nil {
				return err
			}
			defer done()
			report, err := r.Check(ctx, repo.CheckOptions{Deep: *deep, Progress: func(p repo.VerifyProgress) {
				a.err.Status(fmt.Sprintf("hashed %s of %s", view.Bytes(p.Bytes), view.Bytes(p.TotalBytes)))
			}})
			a.err.Status("")
			if err != nil {
				return fmt.Errorf("check %s: %w", args[0], err)
			}
			return a.showCheck(report)
		}
	},
}

// openToCheck opens a URL as it is, or a store of the policy. Nothing can be written to it.
func (a *app) openToCheck(ctx context.Context, what string, pf *policyFlags, ids *[]string) (*repo.Repository, func(), error) {
	if strings.HasPrefix(what, "store.") {
		s, err := a.open(ctx, pf, ids, false)
		if err != nil {
			return nil, nil, err
		}
		r, err := s.stores.View(ctx, what)
		if err != nil {
			return nil, nil, err
		}
		return r.Repository, func() {}, nil
	}
	identities, err := a.identities(policy.Settings{}, ids)
	if err != nil {
		return nil, nil, err
	}
	b, err := a.Open(ctx, what, connect.Options{Base: a.dir, ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	r, err := repo.Open(ctx, b, repo.OpenOptions{Identities: identities})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("check %s: %w", what, err), b.Close())
	}
	return r, func() { closeQuietly(b) }, nil
}

// closeQuietly ends a bucket that was only read: nothing can be lost by it.
func closeQuietly(b blob.Bucket) { _ = b.Close() }

func (a *app) showCheck(r repo.CheckReport) error {
	bad := r.Errors()
	if a.json {
		if err := a.out.Document(map[string]any{
			"format_version": "1.0", "ok": bad == 0, "repository": r.Repository, "points": r.Points, "objects": r.Objects, "bytes": r.Bytes,
			"findings": r.Findings, "not_checked": r.NotChecked,
		}); err != nil {
			return err
		}
		if bad > 0 {
			return exitQuiet(codeError)
		}
		return nil
	}
	for _, f := range r.Findings {
		word := string(f.Severity)
		switch f.Severity {
		case repo.SeverityError:
			word = a.out.Red(word)
		case repo.SeverityWarning:
			word = a.out.Yellow(word)
		}
		fmt.Fprintf(a.out, "%s: %s\n", word, strings.TrimPrefix(f.Object+": "+f.Problem, ": "))
		for _, p := range f.Points {
			fmt.Fprintf(a.out, "  needed by %s\n", p)
		}
		if f.Advice != "" {
			fmt.Fprintf(a.out, "  %s\n", f.Advice)
		}
	}
	for _, what := range r.NotChecked {
		fmt.Fprintf(a.out, "%s: %s\n", a.out.Yellow("not checked"), what)
	}
	fmt.Fprintf(a.out, "Repository %s: %d %s, %d objects, %s; %d %s.\n", r.Repository[:8], r.Points, plural(r.Points, "restore point", "restore points"),
		r.Objects, view.Bytes(r.Bytes), bad, plural(bad, "error", "errors"))
	if bad > 0 {
		return exit(codeError, fmt.Errorf("the repository has %d %s", bad, plural(bad, "error", "errors")))
	}
	return nil
}
