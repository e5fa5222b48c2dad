package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/internal/repo"
	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

var bootstrapCommand = &command{
	name: "bootstrap", group: "Data", summary: "Rebuild policy and catalog from a store alone, on an empty machine",
	usage: "URL -identity=FILE [options]",
	examples: `  holdfast bootstrap s3://acme-backups/production?region=eu-central-1 -identity=recovery.key
  holdfast -chdir=/etc/holdfast bootstrap file:///mnt/backups -identity=/root/recovery.key -store=store.primary`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		store := f.string("store", "ADDRESS", "", "which of the policy's stores is at URL, where its url is another now")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("bootstrap takes the URL of one store: holdfast bootstrap s3://bucket/prefix -identity=FILE")
			}
			b := &bootstrapping{app: a, url: args[0], store: *store, flags: pf}
			return b.run(ctx, ids)
		}
	},
}

// bootstrapping rebuilds one configuration.
type bootstrapping struct {
	*app
	url, store string
	flags      *policyFlags
	repository *repository
	points     []foundPoint
	problems   []string
}

func (b *bootstrapping) run(ctx context.Context, ids *[]string) error {
	if err := b.emptyFolder(); err != nil {
		return err
	}
	if err := b.look(ctx, ids); err != nil {
		return fmt.Errorf("bootstrap from %s: %w", b.url, err)
	}
	files, err := policyFiles(b.newestPolicy())
	if err != nil {
		return fmt.Errorf("bootstrap from %s: %w", b.url, err)
	}
	written, err := b.writeFiles(files)
	if err != nil {
		return errors.Join(err, removeAll(written))
	}
	serial, err := b.fill(ctx)
	if err != nil {
		return errors.Join(err, removeAll(written))
	}
	return b.report(written, serial)
}

// emptyFolder refuses to mix two policies.
func (b *bootstrapping) emptyFolder() error {
	for _, pattern := range []string{"*.hf.hcl", "*.hf.json"} {
		if there, _ := filepath.Glob(filepath.Join(b.dir, pattern)); len(there) > 0 {
			return fmt.Errorf("bootstrap: this folder holds a policy already (%s); use an empty one, or `holdfast import STORE` to add a store's restore points to its catalog", there[0])
		}
	}
	return nil
}

// look reads everything that the store tells.
func (b *bootstrapping) look(ctx context.Context, ids *[]string) error {
	identities, err := b.identities(policy.Settings{}, ids)
	if err != nil {
		return err
	}
	bucket, err := b.Open(ctx, b.url, connect.Options{Base: b.dir, ReadOnly: true})
	if err != nil {
		return err
	}
	defer bucket.Close()
	r, err := repo.Open(ctx, bucket, repo.OpenOptions{Identities: identities})
	if err != nil {
		return err
	}
	if !r.CanWrite() {
		return fmt.Errorf("%w; give it with -identity=FILE", r.KeyError())
	}
	b.repository = &repository{Repository: r}
	if b.points, b.problems, err = findPoints(ctx, b.repository); err != nil {
		return err
	}
	if len(b.points) == 0 {
		return errors.New("the store holds no restore point that can be read, so there is nothing to rebuild from")
	}
	return nil
}

// newestPolicy is the policy by which the newest point was made.
func (b *bootstrapping) newestPolicy() []byte {
	newest := b.points[0]
	for _, p := range b.points {
		if len(p.policy) > 0 && (len(newest.policy) == 0 || p.point.Time.After(newest.point.Time)) {
			newest = p
		}
	}
	return newest.policy
}

// fileLine stands above each file in a point's policy text.
var fileLine = regexp.MustCompile(`(?m)^# ---- (\S+)\n`)

// policyFiles takes a point's policy text apart.
func policyFiles(text []byte) (map[string][]byte, error) {
	files := map[string][]byte{}
	marks := fileLine.FindAllSubmatchIndex(text, -1)
	if len(marks) == 0 || marks[0][0] != 0 {
		return nil, errors.New("no restore point carries the policy it was made by; write the policy by hand, then `holdfast import STORE`")
	}
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		name := string(text[m[2]:m[3]])
		if name != filepath.Base(name) || !strings.Contains(name, ".hf") {
			return nil, fmt.Errorf("the policy text names a file %q, which no policy has; write the policy by hand, then `holdfast import STORE`", name)
		}
		files[name] = append(files[name], bytes.Clone(text[m[1]:end])...)
	}
	return files, nil
}

func (b *bootstrapping) writeFiles(files map[string][]byte) (written []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(b.dir, name)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return written, fmt.Errorf("bootstrap: write policy: %w", err)
		}
		written = append(written, path)
		_, err = f.Write(files[name])
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return written, fmt.Errorf("bootstrap: write policy: %w", err)
		}
	}
	return written, nil
}

func removeAll(files []string) (err error) {
	for _, name := range files {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// fill makes the catalog of an empty state. A state that has a history is kept as it is: its serial is returned.
func (b *bootstrapping) fill(ctx context.Context) (serial uint64, err error) {
	result, err := b.loadPolicy(b.flags, false)
	if err != nil {
		b.err.Warning("the policy in the store cannot be used as it is (variables that are missing are given with -var or -var-file); nothing was written")
		return 0, err
	}
	address, err := b.storeAt(result.Set)
	if err != nil {
		return 0, err
	}
	back, err := b.openState(ctx, result.Set.Settings, true)
	if err != nil {
		return 0, err
	}
	catalog, err := back.Load(ctx)
	if err != nil {
		return 0, fmt.Errorf("load state: %w", err)
	}
	if catalog.Serial > 0 {
		return catalog.Serial, nil
	}
	objects := planner.Objects(result.Set)
	started := b.Now().UTC()
	return 0, back.Update(ctx, func(c *state.Catalog) error {
		if c.Serial > 0 {
			return fmt.Errorf("bootstrap: %w", state.ErrStale)
		}
		c.Objects, c.Points = objects, map[string][]state.RestorePoint{}
		for other := range result.Set.Stores {
			if other != address {
				delete(c.Objects, other) // not looked at: the next plan initializes it, which adopts what is there
			}
		}
		o := c.Objects[address]
		o.Repository = b.repository.ID()
		c.Objects[address] = o
		for _, f := range b.points {
			f.point.Copies[0].Store = address
			addFound(c, nameNow(result.Set, f.address), f, nil)
		}
		c.Runs = append(c.Runs, state.Run{
			ID: newID(started), Operation: "bootstrap", Who: b.holder(), Started: started, Finished: b.Now().UTC(), Status: state.RunOK,
		})
		return nil
	})
}

// storeAt is the address of the store that the policy has at the URL.
func (b *bootstrapping) storeAt(set policy.Set) (string, error) {
	addresses := slices.Sorted(maps.Keys(set.Stores))
	if b.store != "" {
		store, ok := set.Stores[b.store]
		if !ok {
			return "", usageError("-store=%s: the policy in the store declares %s", b.store, strings.Join(addresses, ", "))
		}
		if store.URL != b.url {
			b.err.Warning(fmt.Sprintf("the policy has %s at %s, not at %s; edit its url before you restore or apply", b.store, store.URL, b.url))
		}
		return b.store, nil
	}
	for _, address := range addresses {
		if set.Stores[address].URL == b.url {
			return address, nil
		}
	}
	if len(addresses) == 1 {
		b.err.Warning(fmt.Sprintf("the policy has %s at %s, not at %s; edit its url before you apply", addresses[0], set.Stores[addresses[0]].URL, b.url))
		return addresses[0], nil
	}
	return "", usageError("no store of the policy is at %s; say which one it is with -store=ADDRESS: %s", b.url, strings.Join(addresses, ", "))
}

func (b *bootstrapping) report(written []string, serial uint64) error {
	if b.json {
		return b.out.Document(map[string]any{
			"format_version": "1.0", "repository": b.repository.ID(), "policy_files": written, "points": len(b.points), "problems": b.problems,
			"state_serial": serial, "state_kept": serial > 0,
		})
	}
	for _, p := range b.problems {
		b.err.Warning(p + "; left out")
	}
	for _, name := range written {
		fmt.Fprintf(b.out, "wrote %s\n", name)
	}
	if serial > 0 {
		fmt.Fprintf(b.out, "The state that the policy names is there (serial %d) and was kept as it is.\n", serial)
	} else {
		fmt.Fprintf(b.out, "The catalog was rebuilt: %d %s.\n", len(b.points), plural(len(b.points), "restore point", "restore points"))
	}
	if !b.automated() {
		fmt.Fprintf(b.out, "\n%s Look at it with `holdfast status` and `holdfast plan -refresh=list`, bring data back with `holdfast restore`.\n", b.out.Green("holdfast is ready."))
	}
	return nil
}
