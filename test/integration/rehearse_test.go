package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/test/pgserver"
)

const rehearsal = `
  verify {
    after = "restore"
    restore {
      SERVER
      check "documents" {
        query  = "select count(*) from documents"
        expect = self.value == EXPECTED
      }
      check "odd" {
        query  = "select * from \"Odd Name\""
        expect = self.rows == 2
      }
    }
  }
`

// TestPostgresRehearsal restores to a server of holdfast's own, and to a given one.
func TestPostgresRehearsal(t *testing.T) {
	s, server := postgresSite(t)
	policy := func(given, expected string) {
		text := strings.NewReplacer("SERVER", given, "EXPECTED", expected).Replace(rehearsal)
		s.Write("main.hf.hcl", strings.NewReplacer("RECIPIENT", s.Recipient, `verify { after = "read" }`, text).Replace(postgresPolicy))
	}
	place, err := os.MkdirTemp("", "hfre")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(place) })
	if err := os.Chmod(place, 0o711); err != nil { // the server's account must get in
		t.Fatal(err)
	}
	s.Env = append(s.Env, "TMPDIR="+place, "SCRATCH_URL="+server.DSN("postgres"))
	empty := func() {
		t.Helper()
		if left, err := os.ReadDir(place); err != nil || len(left) > 0 {
			t.Errorf("left in the scratch place: %v, %v", left, err)
		}
	}

	policy("", "40000")
	r := s.Must("apply", "-auto-approve")
	s.Prints(r, "restored to a scratch place", `check "documents" holds: self.value = 40000, self.rows = 1`, `check "odd" holds`)
	empty()
	s.Prints(s.Must("status"), "protected")

	policy("server = env(\"SCRATCH_URL\")", "40000")
	r = s.Must("verify", "backup.app", "-level=restore")
	s.Prints(r, `check "documents" holds`)
	secret(t, s, r, pgserver.DefaultPassword)
	if got := rows(t, server.DSN("postgres"), "(select datname from pg_database where datname ~ '^holdfast')"); len(got) != 0 {
		t.Errorf("left on the scratch server: %v", got)
	}

	policy("", "7")
	s.Prints(s.Exits(1, "verify", "backup.app", "-level=restore"), `check "documents" does not hold: self.value == 7 is expected, found self.value = 40000, self.rows = 1`)
	empty()
}
