package lang

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/policy"
)

const houseBase = `
store "a" {
  url = "mem://a"
  encryption { recipients = ["` + recipient + `"] }
}
store "b" {
  url      = "mem://b"
  capacity = "10GiB"
  encryption { recipients = ["` + recipient + `"] }
}
source "files" "f" { root = "/srv" }
source "postgres" "p" {
  host     = "db"
  password = env("PW")
}
retention "r" { daily = 14 }
backup "plain" {
  source = source.files.f
  store  = store.a
}
backup "each" {
  for_each  = toset(["x", "y"])
  source    = source.files.f
  store     = store.a
  copies    = each.key == "x" ? [store.b] : []
  retention = retention.r
  schedule { every = "1h" }
  objective { rpo = "2h" }
}
`

// assertion writes a check block with one assertion.
func assertion(forEach, condition, message string) string {
	if forEach != "" {
		forEach = "for_each = " + forEach + "\n"
	}
	return "check \"c\" {\n" + forEach + "assert {\ncondition = " + condition + "\nerror_message = " + message + "\n}\n}\n"
}

func TestHouseRules(t *testing.T) {
	fail := func(key, message string) policy.HouseCheck {
		return policy.HouseCheck{Address: "check.c" + key, Severity: "error", Status: "fail", Message: message}
	}
	pass := func(key string) policy.HouseCheck {
		return policy.HouseCheck{Address: "check.c" + key, Severity: "error", Status: "pass"}
	}
	broken := func(key, message string) policy.HouseCheck {
		return policy.HouseCheck{Address: "check.c" + key, Severity: "error", Status: "error", Message: message}
	}
	for name, c := range map[string]struct {
		rule   string
		static bool
		want   []policy.HouseCheck
	}{
		"each backup, instances too": {
			rule: assertion("backup", `each.value.objective.rpo == null || length(each.value.copies) > 0`, `"${each.key} has no second copy"`),
			want: []policy.HouseCheck{pass(`["backup.each[\"x\"]"]`), fail(`["backup.each[\"y\"]"]`, `each["y"] has no second copy`), pass(`["backup.plain"]`)},
		},
		"each store": {
			rule: assertion("store", `each.value.capacity != null`, `"${each.key}: ${each.value.url}"`),
			want: []policy.HouseCheck{fail(`["store.a"]`, "a: mem://a"), pass(`["store.b"]`)},
		},
		"each source": {
			rule: assertion("source", `startswith(each.key, "files.")`, `each.key`),
			want: []policy.HouseCheck{pass(`["source.files.f"]`), fail(`["source.postgres.p"]`, "postgres.p")},
		},
		"each retention": {
			rule: assertion("retention", `each.value.daily >= 14 && each.value.last == null`, `"x"`),
			want: []policy.HouseCheck{pass(`["retention.r"]`)},
		},
		"a map":          {rule: assertion(`{ least = 14, most = 7 }`, `retention.r.daily <= each.value`, `each.key`), want: []policy.HouseCheck{pass(`["least"]`), fail(`["most"]`, "most")}},
		"no map":         {rule: assertion(`{}`, `false`, `"x"`)},
		"all of a type":  {rule: assertion("", `length(store) == 2 && store.a.url == "mem://a"`, `"x"`), want: []policy.HouseCheck{pass("")}},
		"what it copies": {rule: assertion("", `backup.each["x"].copies[0].url == "mem://b"`, `"x"`), want: []policy.HouseCheck{pass("")}},
		"defaults":       {rule: assertion("", `backup.plain.verify.after == "stored" && backup.plain.verify.restore.every == null && !store.a.versioning`, `"x"`), want: []policy.HouseCheck{pass("")}},
		"durations":      {rule: assertion("", `seconds(backup.each["x"].objective.rpo) <= seconds("2h")`, `"x"`), want: []policy.HouseCheck{pass("")}},
		"null compared":  {rule: assertion("", `retention.r.last > 3`, `"x"`), want: []policy.HouseCheck{broken("", "Operation failed: Error during operation: argument must not be null.")}},
		"no bool":        {rule: assertion("", `retention.r.daily`, `"x"`), want: []policy.HouseCheck{broken("", "The condition is neither true nor false: it is a number.")}},
		"null":           {rule: assertion("", `null`, `"x"`), want: []policy.HouseCheck{broken("", "The condition is neither true nor false: it is a value of any type.")}},
		"a secret":       {rule: assertion("", `source.postgres.p.password != "x"`, `"x"`), want: []policy.HouseCheck{broken("", "The condition depends on source.postgres.p.password, a secret, which is not computed here.")}},
		"static":         {rule: assertion("", `nonsensitive(env("TEAM")) == "x"`, `"x"`), static: true},
		"a secret told":  {rule: assertion("", `false`, `env("PW")`), want: []policy.HouseCheck{fail("", "The condition is false. The error message is sensitive and not shown.")}},
		"no message":     {rule: assertion("", `false`, `""`), want: []policy.HouseCheck{fail("", "The condition is false. The error message is not known.")}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := writeFiles(t, map[string]string{"main.hf.hcl": houseBase + c.rule})
			env := func(name string) (string, bool) { return "hunter2", name == "PW" }
			if c.static {
				env = nil
			}
			res := mustLoad(t, dir, Options{Static: c.static, Env: env})
			if diff := cmp.Diff(c.want, res.Set.Checks); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
		})
	}
}

// A rule keeps its severity, and each assertion has its own result.
func TestHouseRuleAssertions(t *testing.T) {
	dir := writeFiles(t, map[string]string{"main.hf.hcl": houseBase + `
check "b" {
  severity = "warning"
  assert {
    condition     = true
    error_message = "one"
  }
  assert {
    condition     = false
    error_message = "two"
  }
}
check "a" {
  severity = null
  assert {
    condition     = false
    error_message = "three"
  }
}
`})
	want := []policy.HouseCheck{
		{Address: "check.a", Severity: "error", Status: "fail", Message: "three"},
		{Address: "check.b", Severity: "warning", Status: "pass"},
		{Address: "check.b", Severity: "warning", Status: "fail", Message: "two"},
	}
	if diff := cmp.Diff(want, mustLoad(t, dir, Options{}).Set.Checks); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}

// An expectation is computed later, from what was restored.
func TestExpect(t *testing.T) {
	load := func(t *testing.T, expect string) policy.Condition {
		t.Helper()
		dir := writeFiles(t, map[string]string{"main.hf.hcl": houseBase + `
variable "least" { default = 3 }
locals { names = ["a", "b"] }
backup "p" {
  source = source.postgres.p
  store  = store.a
  logical {}
  verify {
    restore {
      every = "7d"
      check "c" {
        query  = "select 1"
        expect = ` + expect + `
      }
    }
  }
}
`})
		return mustLoad(t, dir, Options{}).Set.Backups["backup.p"].Verify.Restore.Checks[0].Expect
	}
	for _, c := range []struct {
		expect string
		value  any
		want   bool
		err    string
	}{
		{expect: `self.value > 0`, value: int64(1), want: true},
		{expect: `self.value > 0`, value: int64(0)},
		{expect: `self.value > 0.5`, value: 0.75, want: true},
		{expect: `self.value > 0`, value: "12", want: true},
		{expect: `self.value >= var.least`, value: int64(3), want: true},
		{expect: `contains(local.names, self.value)`, value: "b", want: true},
		{expect: `self.value`, value: true, want: true},
		{expect: `self.value == null`, value: nil, want: true},
		{expect: `self.rows == 1 && self.value != "x"`, value: "y", want: true},
		{expect: `contains(self.value, 7) && contains(self.value, "b")`, value: []any{uint64(7), "b"}, want: true},
		{expect: `contains(self.value, 8)`, value: []any{uint64(7), "b"}},
		{expect: `self.value[0] == 18446744073709551615`, value: []any{uint64(1<<64 - 1)}, want: true},
		{expect: `length(self.value) == 0 && !contains(self.value, 7)`, value: []any{}, want: true},
		{expect: `self.value[1] > self.value[0] / 2 && min(self.value...) > 0.1`, value: []any{0.5, 0.25001}, want: true},
		{expect: `contains(self.value, 7)`, value: []any{7}, err: "compute contains(self.value, 7): self.value: a value of type int"},
		{expect: `self.value > 0`, value: nil, err: "compute self.value > 0: Operation failed: Error during operation: argument must not be null"},
		{expect: `self.value > 0`, value: "many", err: "compute self.value > 0: Invalid operand: Unsuitable value for left operand: a number is required"},
		{expect: `self.value`, value: "many", err: `compute self.value: it is "many", neither true nor false`},
		{expect: `self.value + 1`, value: int64(1), err: `compute self.value + 1: it is 2, neither true nor false`},
		{expect: `self.value`, value: nil, err: `compute self.value: it is null, neither true nor false`},
		{expect: `self.value > 0`, value: []byte("x"), err: "compute self.value > 0: self.value: a value of type []uint8"},
	} {
		condition := load(t, c.expect)
		got, err := condition.Holds(map[string]any{"value": c.value, "rows": int64(1)})
		if condition.Text() != c.expect || got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s of %v: got %v, %v; want %v, %s (text %s)", c.expect, c.value, got, err, c.want, c.err, condition.Text())
		}
	}
	if _, err := load(t, `self.value > 0`).Holds(nil); err == nil || !strings.Contains(err.Error(), "self.value > 0") {
		t.Errorf("without an answer: got %v", err)
	}
}

// The same in JSON: the text is what a person would write in HCL.
func TestExpectInJSON(t *testing.T) {
	dir := writeFiles(t, map[string]string{"a.hf.hcl": houseBase, "b.hf.json": `{
  "backup": {"j": {"source": "${source.files.f}", "store": "${store.a}", "copies": ["${store.b}"], "verify": {"after": "restore", "restore": {"check": {
    "c": {"path": "*", "expect": "${self.count > 1 && self.bytes < bytes(\"1GiB\")}"}}}}}},
  "check": {"c": {"for_each": "${store}", "assert": {"condition": "${each.key != \"b\"}", "error_message": "${each.key} is wrong"}}},
  "moved": [{"from": "backup.old", "to": "backup.j"}, {"from": "${backup.older[\"x\"]}", "to": "backup.plain"}],
  "removed": {"from": "backup.gone", "destroy": true}
}`})
	set := mustLoad(t, dir, Options{}).Set
	b := set.Backups["backup.j"]
	condition := b.Verify.Restore.Checks[0].Expect
	if want := `self.count > 1 && self.bytes < bytes("1GiB")`; condition.Text() != want {
		t.Errorf("got %s, want %s", condition.Text(), want)
	}
	if got, err := condition.Holds(map[string]any{"count": int64(2), "bytes": int64(5)}); !got || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	got := policy.Set{Moved: set.Moved, Removed: set.Removed, Checks: set.Checks}
	want := policy.Set{
		Moved:   []policy.Moved{{From: "backup.old", To: "backup.j"}, {From: `backup.older["x"]`, To: "backup.plain"}},
		Removed: []policy.Removed{{From: "backup.gone", Destroy: true}},
		Checks: []policy.HouseCheck{
			{Address: `check.c["store.a"]`, Severity: "error", Status: "pass"},
			{Address: `check.c["store.b"]`, Severity: "error", Status: "fail", Message: "b is wrong"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
