package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
	"github.com/holdfast-io/holdfast/policy"
)

// viaPlan is a restore out of a base backup into a server's databases, by way of a scratch server: the base backup is restored
// to a private folder, recovered there to the moment, dumped, and the dumps are restored as those of a logical backup are.
// Making it changes nothing.
type viaPlan struct {
	req     executors.RestoreRequest
	from    executors.Supply
	rec     recovery
	logical map[string]string // options for the restore of the dumps
	options options           // the same, read

	point *basebackup.Restoration // for a folder that will never be; says what the point holds
	major int
	bin   tool

	account    account
	place      string // absolute; the scratch folder is made in it
	need, free int64  // bytes in place

	target params
	facts  facts // of the target server
	there  bool  // the target's database exists
}

// optionStart asks for a server on a restored data directory; it means nothing to a restore into databases.
const optionStart = "start"

// planVia reads the request, the base backup, this host and the target.
func (x *Executor) planVia(ctx context.Context, req executors.RestoreRequest, from executors.Supply) (*viaPlan, error) {
	p := &viaPlan{req: req, from: from}
	for _, step := range []func(context.Context, *Executor) error{p.readRequest, p.readPoint, p.findPrograms, p.findRoom, p.lookAtTarget} {
		if err := step(ctx, x); err != nil {
			return nil, fmt.Errorf("restore out of a base backup: %w", err)
		}
	}
	return p, nil
}

// readRequest tells the options of recovery from those of the restore that follows it.
func (p *viaPlan) readRequest(context.Context, *Executor) error {
	if p.req.Target.Root != "" || len(p.req.Target.Spaces) > 0 {
		return errors.New("the target is both a database URL and a data directory: give one of them")
	}
	var err error
	if p.target, err = secretParams(p.req.Target.URL); err != nil {
		return err
	}
	for _, name := range []string{optionAction, optionStart} {
		if _, given := p.req.Options[name]; given {
			return fmt.Errorf("-%s is for a target that is a data directory; here the recovered server is dumped and removed", name)
		}
	}
	if p.rec, err = parseRecovery(p.req.Options); err != nil {
		return err
	}
	if p.req.WAL != nil {
		p.rec.command = askCommand
	}
	p.logical = maps.Clone(p.req.Options)
	for _, name := range []string{optionTo, optionTimeline, optionInclusive, optionCommand} {
		delete(p.logical, name)
	}
	if p.options, err = readOptions(p.logical); err != nil {
		return err
	}
	for _, pattern := range p.req.Only {
		if _, err := policy.NewGlob(pattern); err != nil {
			return err
		}
	}
	return nil
}

// readPoint reads what the base backup is, and whether it can be recovered to the moment.
func (p *viaPlan) readPoint(ctx context.Context, _ *Executor) error {
	place := p.options.stagingDir
	if place == "" {
		place = os.TempDir()
	}
	var err error
	if p.place, err = filepath.Abs(place); err != nil {
		return err
	}
	doc, err := basebackup.ReadDocument(ctx, p.from)
	if err != nil {
		return err
	}
	if p.point, err = basebackup.Plan(ctx, p.from, clusterIn(filepath.Join(p.place, "holdfast-scratch-server"), doc)); err != nil {
		return err
	}
	if p.rec.command == "" && (!doc.CarriesWAL || p.req.Options[optionTo] != "") {
		return errors.New("no WAL is stored for this backup, so that it can be restored to its own moment only: leave -to away")
	}
	if p.major = majorOf(doc.Version); p.major == 0 {
		return fmt.Errorf("its version of PostgreSQL, %q, is none", doc.Version)
	}
	return nil
}

// clusterIn is where a whole cluster goes within one folder.
func clusterIn(folder string, doc *basebackup.Document) basebackup.Target {
	t := basebackup.Target{Dir: filepath.Join(folder, clusterData), Spaces: map[string]string{}}
	for _, s := range doc.Tablespaces {
		oid := strconv.FormatUint(uint64(s.OID), 10)
		t.Spaces[oid] = filepath.Join(folder, clusterSpaces, oid)
	}
	return t
}

// findPrograms finds what is run on this host.
func (p *viaPlan) findPrograms(ctx context.Context, x *Executor) error {
	var err error
	if p.bin, err = x.tools.find(ctx, "postgres", p.major); err != nil {
		return err
	}
	if p.bin.major != p.major {
		return fmt.Errorf("find postgres: a data directory of PostgreSQL %d needs a server of that version, and the nearest here is %s (%s); install the package postgresql-%d, or set HOLDFAST_PG_BIN to the folder of its programs",
			p.major, p.bin.version, p.bin.path, p.major)
	}
	names := []string{"pg_dump"}
	if p.options.globals {
		names = append(names, "pg_dumpall")
	}
	for _, name := range names {
		if _, err := x.tools.find(ctx, name, p.major); err != nil {
			return err
		}
	}
	if p.account, err = serverAccount(); err != nil {
		return err
	}
	return p.account.canRun(ctx, p.bin, p.place)
}

// findRoom refuses when the base backup does not fit. What recovery and the dump add is not known before.
func (p *viaPlan) findRoom(context.Context, *Executor) error {
	var err error
	if p.free, err = freeSpace(p.place); err != nil {
		return err
	}
	if p.need = p.point.Bytes + serverSpace; p.need > p.free {
		return fmt.Errorf("the scratch server needs about %s in %s, and %s are free; make room, or set TMPDIR to another folder", mebibytes(p.need), p.place, mebibytes(p.free))
	}
	return nil
}

// lookAtTarget finds early what would make the restore of the dumps fail after a long recovery.
func (p *viaPlan) lookAtTarget(ctx context.Context, x *Executor) error {
	probe := &restorePlan{}
	conn, err := probe.connect(ctx, p.target)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	if p.facts, err = readFacts(ctx, conn); err == nil {
		_, err = x.tools.find(ctx, "pg_restore", max(p.major, p.facts.major))
	}
	if err == nil {
		err = p.lookAtDatabase(ctx, probe.srv, conn)
	}
	return probe.srv.hide(err)
}

func (p *viaPlan) lookAtDatabase(ctx context.Context, srv *server, conn *pgx.Conn) error {
	name := p.target["dbname"]
	if err := conn.QueryRow(ctx, "select exists(select from pg_database where datname = $1)", name).Scan(&p.there); err != nil {
		return fmt.Errorf("read target: %w", err)
	}
	if !p.there || p.req.Replace {
		return nil
	}
	db, err := srv.openDatabase(ctx, name)
	if err != nil {
		return err
	}
	defer closeConn(ctx, db)
	if !slices.ContainsFunc(p.req.Only, func(pattern string) bool { return strings.ContainsAny(pattern, "/.") }) { // whole databases
		empty, err := isEmpty(ctx, db)
		if err == nil && !empty {
			err = fmt.Errorf("%w: database %q holds data; name a new database in the target, or replace it with -replace", executors.ErrTargetExists, name)
		}
		return err
	}
	for _, pattern := range p.req.Only {
		rel, ok := relationIn(pattern)
		if !ok {
			continue
		}
		var exists bool
		if err := db.QueryRow(ctx, "select to_regclass($1) is not null", rel).Scan(&exists); err != nil {
			return fmt.Errorf("look for %s in the target: %w", rel, err)
		}
		if exists {
			return fmt.Errorf("%w: %s in database %q; restore into another database, or replace what is there with -replace", executors.ErrTargetExists, rel, name)
		}
	}
	return nil
}
