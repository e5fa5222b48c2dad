package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-io/holdfast/internal/apply"
	"github.com/holdfast-io/holdfast/internal/cli/view"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/state"
)

var rotateCommand = &command{
	name: "key rotate", group: "Data", summary: "Make the key holders of stores those of the policy",
	usage: "[STORE…] [-reseal] [options]",
	examples: `  holdfast key rotate                       # every store whose recipients or writers differ from the policy
  holdfast key rotate store.primary -reseal # and seal what was stored before to the new recipients, too`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids, ap := a.policyFlags(f), a.identityFlag(f), a.approvalFlags(f)
		reseal := f.Bool("reseal", false, "also seal everything that was stored before anew: needs a key that reads it, and reads and writes all of it")
		return func(ctx context.Context, args []string) error {
			if err := a.needsApproval(ap, false); err != nil {
				return err
			}
			s, err := a.open(ctx, pf, ids, true)
			if err != nil {
				return err
			}
			return s.rotate(ctx, args, *reseal, ap)
		}
	},
}

// rotation is what is to happen to one store.
type rotation struct {
	store      string
	repository *repository
	joins      []string
	leaves     []string
}

func (s *session) rotate(ctx context.Context, addresses []string, reseal bool, ap *approval) error {
	rotations, err := s.rotations(ctx, addresses)
	if err != nil {
		return err
	}
	changes := 0
	for _, r := range rotations {
		changes += len(r.joins) + len(r.leaves)
		for _, holder := range r.joins {
			fmt.Fprintf(s.err, "  %s %s: %s joins\n", s.err.Green("+"), r.store, holder)
		}
		for _, holder := range r.leaves {
			fmt.Fprintf(s.err, "  %s %s: %s leaves\n", s.err.Red("x"), r.store, holder)
		}
	}
	if changes == 0 && !reseal {
		fmt.Fprintln(s.err, "The key holders of the stores are those of the policy: nothing to do.")
		return nil
	}
	question := "Do you want holdfast to change who can read and write from now on?"
	if reseal {
		question = "Do you want holdfast to change who can read and write, and to seal everything that is stored anew?"
	}
	if err := s.approve(ap, question); err != nil {
		return err
	}
	var failed error
	for _, r := range rotations {
		failed = errors.Join(failed, s.rotateStore(ctx, r, reseal))
	}
	return failed
}

// rotations compares the stores with the policy.
func (s *session) rotations(ctx context.Context, addresses []string) (out []rotation, err error) {
	if len(addresses) == 0 {
		for _, address := range slices.Sorted(maps.Keys(s.policy.Stores)) {
			if s.catalog.Objects[address].Repository != "" && !s.policy.Stores[address].Encryption.None {
				addresses = append(addresses, address)
			}
		}
	}
	slices.SortStableFunc(addresses, func(a, b string) int { // whose keys others share comes first
		return cmp.Compare(len(planner.Like(s.policy, a)), len(planner.Like(s.policy, b)))
	})
	for _, address := range addresses {
		opened, err := s.stores.Open(ctx, address)
		if err != nil {
			return nil, err
		}
		r, ok := opened.(*repository)
		if !ok {
			return nil, fmt.Errorf("rotate %s: %T is no repository of this policy", address, opened)
		}
		have := slices.Concat(r.Config().Recipients, r.Config().Writers)
		want := slices.Concat(s.policy.Stores[address].Encryption.Recipients, s.policy.Stores[address].Encryption.Writers)
		out = append(out, rotation{store: address, repository: r, joins: without(want, have), leaves: without(have, want)})
	}
	return out, nil
}

func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(other, s) })
}

func (s *session) rotateStore(ctx context.Context, r rotation, reseal bool) error {
	encryption := s.policy.Stores[r.store].Encryption
	if len(r.joins)+len(r.leaves) > 0 {
		options := repo.RotateOptions{Recipients: encryption.Recipients, Writers: encryption.Writers, Like: s.relative(ctx, r.store)}
		if err := r.repository.Rotate(ctx, options); err != nil {
			return fmt.Errorf("rotate the keys of %s: %w", r.store, err)
		}
		fmt.Fprintf(s.out, "%s: the key holders are those of the policy.\n", r.store)
		if len(r.joins) > 0 && !reseal {
			fmt.Fprintf(s.out, "  New restore points build on what is stored, which is sealed to the recipients of before: who joined needs -reseal to restore them whole.\n")
		}
		if len(r.leaves) > 0 && !reseal {
			fmt.Fprintf(s.out, "  What was stored before stays readable for those who left, where they can reach it: -reseal seals it anew.\n")
		}
	}
	if !reseal {
		return nil
	}
	started := s.Now().UTC()
	report, err := r.repository.Reseal(ctx, repo.ResealOptions{Progress: func(done, total int64) {
		s.err.Status(fmt.Sprintf("%s: sealed %s of %s anew", r.store, view.Bytes(done), view.Bytes(total)))
	}})
	s.err.Status("")
	bookErr := s.bookResealed(context.WithoutCancel(ctx), r.store, started, report)
	if err = errors.Join(err, bookErr); err != nil {
		return fmt.Errorf("seal %s anew (the same command goes on where it stopped): %w", r.store, err)
	}
	fmt.Fprintf(s.out, "%s: %d packs (%s) were sealed anew. The old packs are pruned after their grace.\n", r.store, report.Packs, view.Bytes(report.Bytes))
	if len(report.Damaged) == 0 {
		return nil
	}
	for _, d := range report.Damaged {
		fmt.Fprintf(s.out, "  %s %s: %s\n", s.out.Red("not sealed anew:"), d.Object, d.Problem)
		for _, p := range d.Points {
			fmt.Fprintf(s.out, "    needed by %s\n", p)
		}
	}
	return fmt.Errorf("seal %s anew: %d %s could not be opened and stay as they are: KEEP the keys that open them. Give every key with -identity (the old one and the new one) and run the same command again",
		r.store, len(report.Damaged), plural(len(report.Damaged), "object", "objects"))
}

// relative is the store that this one shares its keys with, rotated before: then it goes on sharing them.
func (s *session) relative(ctx context.Context, store string) *repo.Repository {
	like := planner.Like(s.policy, store)
	if like == "" {
		return nil
	}
	opened, err := s.stores.Open(ctx, like) // the same value that was rotated
	if r, ok := opened.(*repository); ok && err == nil && len(without(r.Config().Recipients, s.policy.Stores[store].Encryption.Recipients)) == 0 {
		return r.Repository
	}
	return nil // rotated by itself; copies into it are sealed anew from now on
}

// bookResealed keeps the new hashes in the catalog, and that a prune has something to do.
func (s *session) bookResealed(ctx context.Context, store string, started time.Time, report repo.ResealReport) error {
	if len(report.Points) == 0 {
		return nil
	}
	err := s.backend.Update(ctx, func(c *state.Catalog) error {
		apply.Restored(c, store, pointCopies(report.Points), report.Bytes)
		c.Runs = append(c.Runs, state.Run{
			ID: newID(started), Operation: "reseal", Who: s.holder(), Started: started, Finished: s.Now().UTC(), Status: state.RunOK,
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("record what was sealed anew: %w", err)
	}
	return nil
}
