package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/holdfast-io/holdfast/executors"
)

// startLog is where pg_ctl puts what a server says before its own configuration sends it elsewhere.
const startLog = "holdfast-start.log"

// startGrace is how long a server may take to write its postmaster.pid.
const startGrace = 15 * time.Second

// findStart finds, before anything is written, what -start needs.
func (p *physicalPlan) findStart(ctx context.Context, x *Executor, req executors.RestoreRequest, from executors.Supply) error {
	value, given := req.Options[optionStart]
	start, err := strconv.ParseBool(value)
	if !given || err == nil && !start {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read option %s=%q: %w", optionStart, value, err)
	}
	if p.ctl, err = x.exactly(ctx, "pg_ctl", majorOf(p.Document.Version)); err != nil {
		return err
	}
	configured := false
	err = from.Entries(ctx, func(e executors.Entry) error {
		configured = configured || e.Path == "data/postgresql.conf"
		return nil
	})
	if err == nil && !configured {
		err = errors.New("-start: the base backup holds no postgresql.conf, which Debian keeps in /etc/postgresql: restore without -start, put the configuration into the data directory, and start the server then")
	}
	return err
}

// exactly finds a program of a major version: data directories know no other.
func (x *Executor) exactly(ctx context.Context, name string, major int) (tool, error) {
	t, err := x.tools.find(ctx, name, major)
	if err != nil {
		return tool{}, err
	}
	if t.major != major {
		return tool{}, fmt.Errorf("find %s: a data directory of PostgreSQL %d needs a server of that version, and the nearest here is %s (%s); install the package postgresql-%d, or set HOLDFAST_PG_BIN to the folder of its programs",
			name, major, t.version, t.path, major)
	}
	return t, nil
}

// startNote says how the server is started.
func (p *physicalPlan) startNote(ctx context.Context, x *Executor, dir string) string {
	if p.ctl.path != "" {
		return fmt.Sprintf("then a server is started on it with its own configuration (%s), and recovery is watched to its end", p.ctl.path)
	}
	ctl := "pg_ctl"
	t, err := x.exactly(ctx, ctl, majorOf(p.Document.Version))
	if err == nil {
		ctl = t.path
	}
	command := fmt.Sprintf("start it with: %s start -D %s -l %s, as the account that owns the directory, never as root", ctl, dir, filepath.Join(dir, startLog))
	if err != nil {
		command += fmt.Sprintf(" (%v)", err)
	}
	return command
}

// restoredServer is a server that runs on a restored data directory, and stays.
type restoredServer struct {
	plan    *physicalPlan
	req     executors.RestoreRequest
	dir     string
	account account
	begun   time.Time
	seen    bool // its postmaster.pid was there
}

// startServer starts the server and waits until recovery ends, or pauses. A server that ended elsewhere than it should is stopped,
// so that nobody writes into it.
func (p *physicalPlan) startServer(ctx context.Context, req executors.RestoreRequest) (reached, error) {
	dir, err := filepath.Abs(req.Target.Root)
	if err != nil {
		return reached{}, err
	}
	s := &restoredServer{plan: p, req: req, dir: dir, begun: time.Now()}
	if s.account, err = ownerOf(dir); err != nil {
		return reached{}, err
	}
	if err := s.ctl(ctx, "start", "--no-wait", "--silent", "--log="+filepath.Join(dir, startLog)); err != nil {
		return reached{}, err
	}
	r, err := s.wait(ctx)
	if err == nil {
		err = s.compare(r)
	}
	if err == nil {
		return r, nil
	}
	if running(dir) == 0 {
		return reached{}, err
	}
	if stopErr := s.ctl(context.WithoutCancel(ctx), "stop", "--mode=immediate", "--silent"); stopErr != nil {
		return reached{}, errors.Join(err, fmt.Errorf("stop it: %w", stopErr))
	}
	return reached{}, fmt.Errorf("%w; the server was stopped", err)
}

// ownerOf is the account that a server on a directory runs as.
func ownerOf(dir string) (account, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return account{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || int(st.Uid) == os.Geteuid() && st.Uid != 0:
		return account{}, nil
	case st.Uid == 0:
		return account{}, fmt.Errorf("%s belongs to root, as whom PostgreSQL refuses to run: make the account postgres, give it the directory (chown -R postgres %s) and start the server as that", dir, dir)
	case os.Geteuid() != 0:
		return account{}, fmt.Errorf("%s belongs to the account %d: run this as that account or as root", dir, st.Uid)
	}
	return account{&syscall.Credential{Uid: st.Uid, Gid: st.Gid}}, nil
}

// ctl runs pg_ctl as the directory's owner.
func (s *restoredServer) ctl(ctx context.Context, verb string, args ...string) error {
	c := newChild(ctx, nil, s.plan.ctl, append([]string{verb, "--pgdata=" + s.dir}, args...)...)
	c.cmd.Dir, c.cmd.SysProcAttr.Credential = s.dir, s.account.cred
	if s.account.cred != nil { // the environment of root leads to files that the account may not read
		c.cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH"), "HOME=" + homeOf(s.account)}
	}
	return c.run(ctx, nil)
}

func homeOf(a account) string {
	if u, err := user.LookupId(strconv.FormatUint(uint64(a.cred.Uid), 10)); err == nil {
		return u.HomeDir
	}
	return "/"
}
