package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/executortest"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/pgserver"
)

func TestConformance(t *testing.T) {
	// target finds the database name of a made-up target.
	databaseOf := func(t *testing.T, at executors.Target) string {
		t.Helper()
		p, err := secretParams(at.URL)
		if err != nil {
			t.Fatal(err)
		}
		return p["dbname"]
	}
	image := func(t *testing.T, db string) string {
		t.Helper()
		if len(queryAll(t, shared, "postgres", "select datname from pg_database where datname = "+literal(db))) == 0 {
			return ""
		}
		return strings.Join(contents(t, shared, db), "\n")
	}
	executortest.Run(t, executortest.Harness{
		Executor: New(Options{}),
		Source: func(t *testing.T) (policy.Source, policy.Backup) {
			name := uniqueName("conf_source")
			newDatabase(t, name, richSchema, bigTable)
			return sourceOf(shared.DSN(name)), logical(only(name))
		},
		Target: func(t *testing.T) executors.Target {
			name := uniqueName("conf_target")
			t.Cleanup(func() {
				_ = shared.Exec(context.Background(), "postgres", "drop database if exists "+ident(name)+" with (force)")
			})
			return executors.Target{URL: secret(shared.DSN(name))}
		},
		Occupy: func(t *testing.T, at executors.Target) {
			name := databaseOf(t, at)
			execSQL(t, shared, "postgres", "create database "+name)
			execSQL(t, shared, name, "create table precious as select 'keep' x")
		},
		SourceImage: func(t *testing.T, src policy.Source) string {
			p, err := sourceParams(src.Postgres)
			if err != nil {
				t.Fatal(err)
			}
			return image(t, p["dbname"])
		},
		TargetImage: func(t *testing.T, at executors.Target) string { return image(t, databaseOf(t, at)) },
		Checks: func(policy.Source) (holds, fails, broken policy.Check) {
			return check("documents", "select count(*) from documents", int64(400)), check("no documents", "select count(*) from documents", int64(0)),
				check("no such table", "select 1 from nowhere", int64(1))
		},
		Scratch: scratchDir,
		Secrets: []string{pgserver.DefaultPassword},
	})
	noLeftovers(t)
}
