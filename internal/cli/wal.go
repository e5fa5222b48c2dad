package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

var walReceiveCommand = &command{
	name: "wal receive", group: "Data", summary: "Stream a server's write-ahead log into the store, until it is ended",
	usage: "ADDRESS [-once]",
	examples: `  holdfast wal receive backup.app_pitr          # under systemd, beside the timer of "holdfast apply"
  holdfast wal receive backup.app_pitr -once    # until everything that the server has now is durable`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		once := f.Bool("once", false, "end when everything that the server has now is durable")
		return func(ctx context.Context, args []string) error {
			if len(args) != 1 {
				return usageError("wal receive needs the address of a backup: holdfast wal receive backup.NAME")
			}
			s, b, err := a.walSession(pf, ids, args[0])
			if err != nil {
				return err
			}
			return s.receiveWAL(ctx, b, *once)
		}
	},
}

var walPushCommand = &command{
	name: "wal push", group: "Data", summary: "Store one file of write-ahead log (for archive_command)",
	usage:    "ADDRESS PATH",
	examples: `  archive_command = 'holdfast -chdir=/etc/holdfast wal push backup.app_pitr %p'`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		return func(ctx context.Context, args []string) error {
			if len(args) != 2 {
				return usageError("wal push needs the address of a backup and a file: holdfast wal push backup.NAME %%p")
			}
			s, b, err := a.walSession(pf, ids, args[0])
			if err != nil {
				return err
			}
			return s.pushWAL(ctx, b, args[1])
		}
	},
}

var walFetchCommand = &command{
	name: "wal fetch", group: "Data", summary: "Bring one file of write-ahead log back (for restore_command)",
	usage:    "ADDRESS NAME PATH",
	examples: `  restore_command = 'holdfast -chdir=/etc/holdfast wal fetch backup.app_pitr %f %p'   # exits 0, 1 (proven absent) or 126`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		pf, ids := a.policyFlags(f), a.identityFlag(f)
		from := f.string("from", "STORE", "", "read from this store, and from no other")
		return func(ctx context.Context, args []string) error {
			if len(args) != 3 {
				return usageError("wal fetch needs the address of a backup, a name and a path: holdfast wal fetch backup.NAME %%f %%p")
			}
			s, b, err := a.walSession(pf, ids, args[0])
			if err != nil {
				return err
			}
			return s.fetchWAL(ctx, b, *from, args[1], args[2])
		}
	},
}

// codeNotServed is what recovery takes for a reason to stop: PostgreSQL reads every code up to 125 as the end of the log.
const codeNotServed = 126

// servesRecovery tells whether a command line is one whose exit code decides where a recovery ends.
func servesRecovery(args []string) bool {
	for i, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			return arg == "wal" && len(args) > i+1 && args[i+1] == "fetch"
		}
	}
	return false
}

// absent tells that a file is proven not to be there.
func absent(err error) bool {
	var e *exitError
	return errors.As(err, &e) && e.code == codeError && errors.Is(err, executors.ErrNoWAL)
}

// walSession is a session without the state: archiving and recovery must not depend on it.
func (a *app) walSession(pf *policyFlags, ids *[]string, address string) (*session, policy.Backup, error) {
	result, err := a.loadPolicy(pf, false)
	if err != nil {
		return nil, policy.Backup{}, err
	}
	s := &session{app: a, result: result, policy: result.Set, catalog: &state.Catalog{}}
	keys, err := a.identities(s.policy.Settings, ids)
	if err != nil {
		return nil, policy.Backup{}, err
	}
	s.stores = newStores(s, keys)
	b, ok := s.policy.Backups[address]
	switch {
	case !ok:
		return nil, b, usageError("the policy declares no %s", address)
	case b.Physical == nil:
		return nil, b, usageError("%s has no physical block, and so no write-ahead log", address)
	}
	return s, b, nil
}

func (s *session) receiveWAL(ctx context.Context, b policy.Backup, once bool) error {
	if b.Physical.WAL.Mode != policy.WALStream {
		return usageError("%s has no wal { mode = \"stream\" }: its write-ahead log is not received by streaming", b.Address)
	}
	r, err := s.stores.connect(ctx, b.Store, false)
	if err != nil {
		return err
	}
	v := &walView{s: s, address: b.Address}
	err = postgres.New(postgres.Options{}).ReceiveWAL(ctx, executors.WALRequest{
		Source: s.policy.Sources[b.Source], Backup: b, Once: once, Tell: v.tell, Log: s.log,
	}, walArchive{r})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		fmt.Fprintln(s.err, "ended; the slot on the server keeps what comes now")
	}
	return nil
}

// walView tells how far a receiver is: each change of its health at once, and its position now and then.
type walView struct {
	s       *session
	address string
	told    time.Time
	problem string
}

const walTellEvery = 10 * time.Second

func (v *walView) tell(w executors.WALStatus) {
	problem := ""
	if w.Problem != nil {
		problem = v.s.redactor.String(w.Problem.Error())
	}
	now := v.s.Now()
	if problem == v.problem && now.Sub(v.told) < walTellEvery {
		return
	}
	v.problem, v.told = problem, now
	if v.s.json {
		v.s.out.JSON(map[string]any{
			"type": "wal_status", "format_version": "1.0", "address": v.address, "system": w.System, "timeline": w.Timeline,
			"durable": w.Durable, "received": w.Received, "source": w.Source, "problem": problem, "at": now.UTC(),
		})
		return
	}
	if problem != "" {
		v.s.err.Warning(fmt.Sprintf("%s: %s", v.address, problem))
		return
	}
	fmt.Fprintf(v.s.out, "%s  timeline %d  durable %s  server %s\n", now.UTC().Format(time.DateTime), w.Timeline, w.Durable, w.Source)
}

func (s *session) pushWAL(ctx context.Context, b policy.Backup, path string) error {
	f, err := postgres.OpenWALFile(path)
	if err != nil {
		return fmt.Errorf("push %s: %w", path, err)
	}
	defer f.Close()
	r, err := s.stores.connect(ctx, b.Store, false)
	if err != nil {
		return err
	}
	if err := (walArchive{r}).Push(ctx, f.System, f.Name, f, f.Size); err != nil {
		return fmt.Errorf("push %s: %w", f.Name, err)
	}
	return nil
}

// archives opens the stores of a backup for reading; those that cannot be opened are errors only when none can.
func (s *session) archives(ctx context.Context, b policy.Backup, only string) (walArchives, error) {
	var all walArchives
	var failed []error
	for _, store := range b.Stores() {
		if only != "" && store != only {
			continue
		}
		r, err := s.stores.View(ctx, store)
		if err == nil && !r.CanRead() {
			err = unreadable(r)
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		all = append(all, walArchive{r})
	}
	if len(all) == 0 {
		return nil, errors.Join(append(failed, fmt.Errorf("no store of %s can be read", b.Address))...)
	}
	for _, err := range failed {
		s.err.Warning(err.Error())
	}
	return all, nil
}

// fetchWAL serves one file to a recovery. Its error decides whether that goes on: only what every store says it has not is
// absent.
func (s *session) fetchWAL(ctx context.Context, b policy.Backup, from, name, to string) error {
	system, size, err := postgres.ClusterOf(to)
	if err != nil {
		return exit(codeNotServed, fmt.Errorf("fetch %s: %w", name, err))
	}
	all, err := s.archives(ctx, b, from)
	if err != nil {
		return exit(codeNotServed, fmt.Errorf("fetch %s: %w", name, err))
	}
	complete := len(all) == len(b.Stores()) || from != ""
	err = writeWhole(to, func(w io.Writer) error {
		_, err := all.Fetch(ctx, system, name, size, w)
		return err
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, executors.ErrNoWAL) && complete:
		return exit(codeError, fmt.Errorf("fetch %s: %w", name, err))
	}
	return exit(codeNotServed, fmt.Errorf("fetch %s: %w", name, err))
}

// writeWhole writes a file, and leaves none when that fails.
func writeWhole(path string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".holdfast-")
	if err != nil {
		return err
	}
	err = errors.Join(fill(f), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is gone, or nobody takes it for WAL
	}
	return err
}
