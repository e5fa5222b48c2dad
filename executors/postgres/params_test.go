package postgres

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/holdfast-io/holdfast/policy"
)

func TestParseParams(t *testing.T) {
	for in, want := range map[string]params{
		"postgres://u:p%40%3A%2F%25@h:5433/db?sslmode=require&connect_timeout=3": {"user": "u", "password": "p@:/%", "host": "h", "port": "5433", "dbname": "db", "sslmode": "require", "connect_timeout": "3"},
		"postgresql://h1:1,h2:2/db?target_session_attrs=primary":                 {"host": "h1,h2", "port": "1,2", "dbname": "db", "target_session_attrs": "primary"},
		"postgres:///db?host=/var/run/postgresql":                                {"host": "/var/run/postgresql", "dbname": "db"},
		"postgres://[::1]:5432/a%20b%2Fc":                                        {"host": "::1", "port": "5432", "dbname": "a b/c"},
		"postgres://user@":                                                       {"user": "user"},
		`host=h password = 'it\'s \\ here' dbname='' user=a\ b`:                  {"host": "h", "password": `it's \ here`, "user": "a b"},
		"postgres://%2Fvar%2Frun/db":                                             {"host": "/var/run", "dbname": "db"},
		"postgres://u:a:b@c@h/db":                                                {"user": "u", "password": "a:b@c", "host": "h", "dbname": "db"},
	} {
		got, err := parseParams(in)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", in, err, diff)
		}
	}
}

// TestParamsReachTheDriver proves that what is written for pgx is read by it as it was meant.
func TestParamsReachTheDriver(t *testing.T) {
	p := params{"host": "h", "port": "1", "user": "u", "password": `p'\ "x`, "dbname": `a b'\`, "sslmode": "disable", "gssencmode": "disable"}
	cfg, err := pgx.ParseConfig(p.forDriver())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Password != p["password"] || cfg.Database != p["dbname"] || len(cfg.RuntimeParams) != 0 {
		t.Errorf("pgx reads password %q, database %q, settings %v", cfg.Password, cfg.Database, cfg.RuntimeParams)
	}
	if s := p.forTools(); strings.Contains(s, "password") || strings.Contains(s, `p\'`) {
		t.Errorf("the programs' connection string holds the password: %s", s)
	}
}

func TestHosts(t *testing.T) {
	got := params{"host": "a,b,/c", "port": "1,2,3", "user": "u"}.hosts()
	want := []params{{"host": "a", "port": "1", "user": "u"}, {"host": "b", "port": "2", "user": "u"}, {"host": "/c", "port": "3", "user": "u"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAddress(t *testing.T) {
	for want, p := range map[string]params{
		"postgres://u@h:1/db":                   {"host": "h", "port": "1", "user": "u", "dbname": "db", "password": "x"},
		"postgres://u@/db?host=/run/pg&port=12": {"host": "/run/pg", "port": "12", "user": "u", "dbname": "db"},
		"postgres://[::1]:5/a%20b":              {"host": "::1", "port": "5", "dbname": "a b"},
	} {
		if got := p.address(); got != want {
			t.Errorf("address = %s, want %s", got, want)
		}
	}
}

// TestFirstHostThatAnswers proves that one call stays with one server of several.
func TestFirstHostThatAnswers(t *testing.T) {
	p, err := parseParams(shared.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	p["host"], p["port"] = "127.0.0.1,127.0.0.1", "1,"+p["port"]
	srv, conn, err := dial(t.Context(), p, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(t.Context(), conn)
	if srv.params["port"] == "1" || strings.Contains(srv.params["host"], ",") {
		t.Errorf("parameters = %s, want the server that answered", srv.params.address())
	}
}

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"app": "databases/app.dump", "Ápp 文書": "databases/Ápp%20文書.dump", "../x": "databases/..%2Fx.dump", ".": "databases/..dump", "50%": "databases/50%25.dump",
		"a*b": "databases/a%2Ab.dump", "\u202e": "databases/%E2%80%AE.dump",
	} {
		if got := dumpPath(in); got != want {
			t.Errorf("dumpPath(%q) = %s, want %s", in, got, want)
		}
	}
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b.c\nd", true},
		{"app", "app2", false},
		{"a?p", "a文p", true},
		{"[ab]*", "bcd", true},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{"a.c", "abc", false},
	} {
		g, err := policy.NewGlob(tc.pattern)
		if err != nil || g.Match(tc.name) != tc.want {
			t.Errorf("%q matches %q: %v, %v; want %v", tc.pattern, tc.name, !tc.want, err, tc.want)
		}
	}
}

func TestStatements(t *testing.T) {
	got, err := statements("-- a; comment 'x\n\\restrict abc'\n\nSET x = on;\n--\nALTER ROLE \"a;b\"\"c\" SET y TO 'it''s; -- no';\nCOMMENT ON ROLE r IS E'back\\'slash;\n\\\\line';\n\\unrestrict abc\n")
	want := []string{"SET x = on", `ALTER ROLE "a;b""c" SET y TO 'it''s; -- no'`, "COMMENT ON ROLE r IS E'back\\'slash;\n\\\\line'"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, cut := range []string{"CREATE ROLE x", "ALTER ROLE x PASSWORD 'SCR"} {
		if _, err := statements(cut); err == nil {
			t.Errorf("%q was taken for whole", cut)
		}
	}
}

// FuzzParams: what is read from a connection text reads the same from the keywords that are made of it.
func FuzzParams(f *testing.F) {
	for _, text := range []string{
		"postgres://u:p@h:5432/db?sslmode=require", "postgresql:///db?host=/run", "host=a,b port=1,2 user='it''s' password='a\\\\b'", "=", "host=", "postgres://[::1]/x",
		"postgres://%zz", "host='open",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseParams(text)
		if err != nil || len(p) == 0 {
			return
		}
		written := p.keywordString(func(string) bool { return true })
		if again, err := parseParams(written); err != nil || again.keywordString(func(string) bool { return true }) != written {
			t.Errorf("%q is written as %q and read as %v (%v)", text, written, again, err)
		}
	})
}
