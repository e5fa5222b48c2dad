package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/state"
)

var initCommand = &command{
	name: "init", group: "Main", summary: "Create the state and the repositories that the policy declares",
	usage: "[options]",
	examples: `  holdfast init
  holdfast -chdir=/etc/holdfast init`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("init takes no arguments; choose the folder with -chdir=%s", args[0])
			}
			s, err := a.open(ctx, pf, ids, true)
			if err != nil {
				return err
			}
			return s.init(ctx)
		}
	},
}

type initialized struct {
	Store      string `json:"store"`
	URL        string `json:"url"`
	Repository string `json:"repository"`
	Created    bool   `json:"created"`
	CanWrite   bool   `json:"can_write"`
	CanRead    bool   `json:"can_read"`
}

// init makes what is missing. What is there stays as it is, so that it may be run at any time.
func (s *session) init(ctx context.Context) error {
	var done []initialized
	var failed error
	addresses := slices.Sorted(maps.Keys(s.policy.Stores))
	slices.SortStableFunc(addresses, func(a, b string) int { // those whose keys others share come first
		return cmp.Compare(len(planner.Like(s.policy, a)), len(planner.Like(s.policy, b)))
	})
	for _, address := range addresses {
		one, err := s.initStore(ctx, address)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		done = append(done, one)
	}
	objects := planner.Objects(s.policy)
	err := s.backend.Update(ctx, func(c *state.Catalog) error {
		for _, one := range done {
			if known, ok := c.Objects[one.Store]; ok && known.Repository != "" {
				continue
			}
			if c.Objects == nil {
				c.Objects = map[string]state.Object{}
			}
			o := objects[one.Store]
			o.Repository = one.Repository
			c.Objects[one.Store] = o
		}
		return nil
	})
	if err != nil {
		return errors.Join(failed, fmt.Errorf("record the stores: %w", err))
	}
	if s.json {
		if err := s.out.Document(map[string]any{"format_version": "1.0", "stores": done}); err != nil {
			return err
		}
		return failed
	}
	for _, one := range done {
		word := "ready"
		if one.Created {
			word = "created"
		}
		fmt.Fprintf(s.out, "%s: repository %s %s in %s\n", one.Store, one.Repository[:8], word, one.URL)
		if !one.CanWrite {
			fmt.Fprintf(s.out, "  This host holds no key of it yet: name its key file with -identity, HOLDFAST_IDENTITY_FILE or `identity` before you apply.\n")
		}
	}
	if failed == nil && !s.automated() {
		fmt.Fprintf(s.out, "\n%s\n", s.out.Green("holdfast is ready.")+" See what it would do with `holdfast plan`.")
	}
	return failed
}

func (s *session) initStore(ctx context.Context, address string) (initialized, error) {
	like := planner.Like(s.policy, address)
	_, before := s.stores.View(ctx, address)
	var wrong *repo.WrongRepositoryError
	if errors.As(before, &wrong) {
		return initialized{}, before
	}
	if known := s.stores.expected(address, s.policy.Stores[address]); known != "" && errors.Is(before, repo.ErrNoRepository) {
		return initialized{}, fmt.Errorf("%s (%s) is empty, and the catalog knows repository %s there: is it mounted, is the url right? "+
			"Nothing was made, so that what comes back is not hidden. Where it is lost for good, give the store another url", address, s.policy.Stores[address].URL, known)
	}
	id, err := s.stores.Initialize(ctx, address, like)
	if err != nil {
		return initialized{}, err
	}
	r, err := s.stores.View(ctx, address)
	if err != nil {
		return initialized{}, err
	}
	return initialized{
		Store: address, URL: s.policy.Stores[address].URL, Repository: id, Created: before != nil,
		CanWrite: r.CanWrite(), CanRead: r.CanRead(),
	}, nil
}
