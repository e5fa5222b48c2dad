package qdrant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// Rehearse implements executors.Rehearser: it restores one collection after the other under a scratch name, on the source's
// own servers or another one, compares it with what was recorded, asks the policy's checks of it, and removes it.
func (x *Executor) Rehearse(ctx context.Context, req executors.RehearseRequest, from executors.Supply) (res executors.RehearseResult, err error) {
	r := &rehearsal{x: x, req: req, from: &executors.Watched{Supply: from}, log: logger(req.Log)}
	if err := r.open(ctx); err != nil {
		return res, fmt.Errorf("rehearse the restore: %w", executors.Scratch(err))
	}
	defer r.close()
	err = r.run(ctx)
	if err != nil {
		return executors.RehearseResult{}, fmt.Errorf("rehearse the restore: %w", r.c.hide(r.blame(ctx, err)))
	}
	return r.result, nil
}

// rehearsal is one run of Rehearse.
type rehearsal struct {
	x       *Executor
	req     executors.RehearseRequest
	from    *executors.Watched
	log     *slog.Logger
	c       *cluster
	content *contents
	claim   *claim
	courier *courier
	result  executors.RehearseResult
	checks  map[int]executors.CheckResult // by place in the policy
}

// open connects, and claims a name on the server.
func (r *rehearsal) open(ctx context.Context) error {
	var err error
	if server := r.req.Rehearsal.Server; server != nil {
		r.c, err = r.x.openURL(ctx, server, r.req.Source)
	} else if r.req.Source.Qdrant == nil {
		err = errors.New("the policy does not declare the restore point's source any more: give verify { restore { server = … } }")
	} else {
		r.c, err = r.x.openSource(ctx, r.req.Source, toRestore)
	}
	if err != nil {
		return err
	}
	if r.claim, err = newClaim(r.req.Dir); err != nil {
		r.c.close()
		return err
	}
	if err := r.sweep(ctx); err != nil {
		r.close()
		return r.c.hide(err)
	}
	r.courier, err = newCourier(r.x, r.c, executors.RestoreRequest{})
	return err
}

func (r *rehearsal) close() {
	r.claim.release()
	r.c.close()
}

// sweep removes scratch collections of rehearsals that were killed: of this host, by their lock, and very old ones.
func (r *rehearsal) sweep(ctx context.Context) error {
	names, err := r.c.collectionNames(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, drillPrefix) && abandoned(r.req.Dir, name, time.Now(), r.x.margins.abandoned) {
			if err := r.x.dropCollection(ctx, r.c, name); err != nil {
				r.log.Warn("what an earlier rehearsal left could not be removed", "collection", name, "err", err)
			}
		}
	}
	return nil
}

func (r *rehearsal) run(ctx context.Context) error {
	var err error
	if r.content, err = readContents(ctx, r.from, nil); err != nil {
		return err
	}
	if r.content.point.Method == "snapshot" {
		if err := r.c.version.fits(r.content.made); err != nil {
			return executors.Scratch(err)
		}
	}
	r.checks = map[int]executors.CheckResult{}
	for i, rec := range r.content.collections {
		if err := r.one(ctx, i, rec); err != nil {
			return fmt.Errorf("collection %q: %w", rec.Name, err)
		}
	}
	for i, c := range r.req.Rehearsal.Checks {
		result, ok := r.checks[i]
		if !ok {
			result = executors.Unanswered(c, r.noCollection(c))
		}
		r.result.Checks = append(r.result.Checks, result)
	}
	r.result.Version = r.c.version.text
	return nil
}

func (r *rehearsal) noCollection(c policy.Check) error {
	if c.Collection == "" {
		return errors.New("a check of Qdrant needs a collection")
	}
	return fmt.Errorf("the restore point holds no collection %q; it holds %s", c.Collection, executors.ListSome(r.content.point.Collections, 10))
}

// one rehearses one collection.
func (r *rehearsal) one(ctx context.Context, i int, rec *collectionRecord) (err error) {
	if err := r.content.whole(rec); err != nil {
		return err
	}
	m := &maker{x: r.x, c: r.c, rec: rec, name: drillPrefix + r.claim.token + "_" + strconv.Itoa(i), courier: r.courier, from: r.from, log: r.log, written: r.content.made}
	start := time.Now()
	defer func() {
		if !m.made {
			return
		}
		if derr := r.x.dropCollection(ctx, r.c, m.name); derr != nil {
			r.log.Warn("a scratch collection of a rehearsal is left; a later one tries again", "collection", m.name, "err", derr)
			r.result.Problems = append(r.result.Problems, executors.Problem{Path: m.name, Err: derr})
		}
	}()
	if err := steps(ctx, step{"", m.prepare}, step{"", m.place}, step{"fill it", m.fill}); err != nil {
		return err
	}
	if err := m.settle(ctx); err != nil { // what was handed over was right by its checksum; the rest is the server's work
		return executors.Scratch(fmt.Errorf("wait until it is ready: %w", err))
	}
	r.result.Seconds += time.Since(start).Seconds()
	err = m.prove(ctx)
	r.result.Problems = append(r.result.Problems, m.doubts...)
	if err != nil {
		if m.cfg.Params.ShardingMethod == "custom" && !m.custom() {
			return executors.Scratch(fmt.Errorf("%w (it has shard keys, which a single server does not keep: points of the same id take each other's place; rehearse it on a cluster)", err))
		}
		return err
	}
	for j, c := range r.req.Rehearsal.Checks {
		if c.Collection == rec.Name {
			r.checks[j] = m.ask(ctx, c)
		}
	}
	// After the checks, which its limits must not stand in the way of; that it can be set is part of a restore.
	if err := m.finish(ctx); err != nil {
		return fmt.Errorf("finish it: %w", err)
	}
	r.result.Items++
	r.result.Bytes += rec.bytes()
	return ctx.Err()
}

// place refuses a server that cannot hold the shards as they are.
func (m *maker) place(context.Context) error {
	if m.cfg.Params.ShardingMethod == "custom" && !m.custom() && m.rec.Export == nil {
		return executors.Scratch(fmt.Errorf("it has shard keys, which only a cluster keeps, and %s is a single server: rehearse it on a cluster", m.c.address()))
	}
	return nil
}

// blame decides what an error says: of the restore point, or of the server it was tried on.
func (r *rehearsal) blame(ctx context.Context, err error) error {
	var said *statusError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.from.Failure() != nil:
		return err
	case errors.As(err, &said):
		// What the server says of the archive or of the collection is about the point; its rights, its room and its health are
		// not.
		if said.Status == 400 || said.Status == 404 || said.Status == 409 || said.Status == 422 {
			return err
		}
		if said.Status == 500 && !strings.Contains(said.text, noSpace) && !strings.Contains(strings.ToLower(said.text), "timeout") {
			return err
		}
		return executors.Scratch(err)
	case isTransport(err), errors.Is(err, errUnreached), strings.Contains(err.Error(), noSpace): // told by the collection itself
		return executors.Scratch(err)
	}
	return err
}

// isTransport tells that no answer came at all.
func isTransport(err error) bool {
	var sys syscall.Errno
	var net interface{ Timeout() bool }
	return errors.As(err, &sys) || errors.As(err, &net) || isGRPC(err) && passing(err)
}

// drillName is what the names of scratch collections look like: a time, a token, a number.
var drillName = regexp.MustCompile(`^` + drillPrefix + `[0-9a-z]{6,7}_[0-9a-z]{12}_[0-9]+$`)

// claim is a name on servers that is ours while its lock file is locked.
type claim struct {
	token string
	file  *os.File
}

const claimPrefix = "holdfast-drill-"

// newClaim makes a token and its lock file in dir; empty means the folder for temporary files.
func newClaim(dir string) (*claim, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	token := strconv.FormatInt(time.Now().Unix(), 36) + "_" + newToken()
	f, err := os.OpenFile(filepath.Join(dir, claimPrefix+token), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a lock file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), os.Remove(f.Name()))
	}
	return &claim{token: token, file: f}, nil
}

func (c *claim) release() {
	_ = os.Remove(c.file.Name()) // nobody waits for it
	_ = c.file.Close()
}

// abandoned tells whether the maker of a scratch collection is gone: its lock file is here and not locked, or it is so old
// that no rehearsal takes that long.
func abandoned(dir, name string, now time.Time, age time.Duration) bool {
	// A server says these names, and a file's name is made of them: nothing but what newClaim makes is believed.
	if !drillName.MatchString(name) {
		return false
	}
	parts := strings.Split(strings.TrimPrefix(name, drillPrefix), "_")
	if dir == "" {
		dir = os.TempDir()
	}
	path := filepath.Join(dir, claimPrefix+parts[0]+"_"+parts[1])
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		defer f.Close()
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return false
		}
		_ = os.Remove(path) // its maker is gone
		return true
	}
	made, err := strconv.ParseInt(parts[0], 36, 64)
	return err == nil && now.Sub(time.Unix(made, 0)) > age
}
