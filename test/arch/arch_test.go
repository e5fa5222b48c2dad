package arch

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestImports holds the whole tree against the law.
func TestImports(t *testing.T) {
	packages, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) < 10 {
		t.Fatalf("only %d packages found: the list is not the project", len(packages))
	}
	for _, finding := range Check(packages) {
		t.Error(finding)
	}
}

// TestRulesInUse keeps the law as short as the tree: a dependency that nobody imports any more has no place in it.
func TestRulesInUse(t *testing.T) {
	packages, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range Outside {
		used := false
		for _, p := range packages {
			used = used || importsFrom(p, o.Path)
		}
		if !used {
			t.Errorf("%s is in test/arch/rules.go, and no package imports it", o.Path)
		}
	}
}

func importsFrom(p Package, folder string) bool {
	for _, i := range p.Imports {
		if match(folder+"/...", i) {
			return true
		}
	}
	return false
}

func TestCheck(t *testing.T) {
	our := func(p string) string { return module + "/" + p }
	for _, tt := range []struct {
		name     string
		packages []Package
		want     []string
	}{
		{
			name: "what the law allows",
			packages: []Package{
				{Path: "planner", Imports: []string{our("policy"), our("state"), "fmt", "time"}, Uses: []Selector{{"time", "Duration", "p.go:1"}}},
				{Path: "policy", Imports: []string{"time"}},
				{Path: "state", Imports: []string{"time"}},
				{Path: "policy/lang", Imports: []string{"os", our("policy"), "github.com/hashicorp/hcl/v2/hclsyntax"}},
				{Path: "executors/executortest", Imports: []string{"testing", "os", our("executors"), our("internal/repo")}},
			},
		},
		{
			name:     "an arrow that is not drawn",
			packages: []Package{{Path: "planner", Imports: []string{our("internal/cli")}}},
			want: []string{`planner imports internal/cli: rule "planner" allows policy, policy/retention, policy/schedule, state, ` +
				`planner/plan, internal/dag, internal/diag`},
		},
		{
			name:     "a leaf with an import",
			packages: []Package{{Path: "internal/dag", Imports: []string{our("internal/diag")}}},
			want:     []string{`internal/dag imports internal/diag: rule "internal/dag" allows nothing of ours (it is a leaf)`},
		},
		{
			name:     "a package nobody thought of",
			packages: []Package{{Path: "internal/util"}},
			want:     []string{"internal/util has no rule: say in test/arch/rules.go which of our packages it may import"},
		},
		{
			name: "impure through another package",
			packages: []Package{
				{Path: "planner", Imports: []string{our("internal/dag")}},
				{Path: "internal/dag", Imports: []string{"os", "time"}, Uses: []Selector{{"time", "Now", "internal/dag/dag.go:7"}}},
			},
			want: []string{
				"internal/dag/dag.go:7: internal/dag is pure (imported by planner): no time.Now, the moment is an argument",
				"planner is pure, and imports os: planner -> internal/dag -> os",
			},
		},
		{
			name: "the repository learns of policies by a detour",
			packages: []Package{
				{Path: "internal/repo", Imports: []string{our("internal/blob")}},
				{Path: "internal/blob", Imports: []string{our("policy")}},
				{Path: "policy"},
			},
			want: []string{
				`internal/blob imports policy: rule "internal/blob" allows nothing of ours (it is a leaf)`,
				"internal/repo must never reach policy, and does: internal/repo -> internal/blob -> policy",
			},
		},
		{
			name:     "a dependency in the wrong place",
			packages: []Package{{Path: "internal/cli", Imports: []string{"github.com/jackc/pgx/v5/pgconn", "github.com/example/new"}}},
			want: []string{
				"internal/cli imports github.com/example/new: a dependency that test/arch/rules.go does not know",
				"internal/cli imports github.com/jackc/pgx/v5/pgconn: that is for executors/postgres/..., test/...",
			},
		},
		{
			name:     "tests in what ships",
			packages: []Package{{Path: "internal/cli", Imports: []string{"testing", our("internal/blob/blobtest")}}},
			want: []string{
				"internal/cli imports " + our("internal/blob/blobtest") + ": production code never imports what is for tests",
				"internal/cli imports testing: production code never imports what is for tests",
			},
		},
		{
			name: "calls that belong elsewhere",
			packages: []Package{
				{Path: "internal/apply", Imports: []string{"os"}, Uses: []Selector{{"os", "Exit", "internal/apply/a.go:3"}, {"fmt", "Println", "internal/apply/a.go:4"}}},
				{Path: "cmd/holdfast", Imports: []string{"os"}, Uses: []Selector{{"os", "Exit", "cmd/holdfast/main.go:3"}}},
			},
			want: []string{
				"internal/apply/a.go:3: os.Exit: only main maps an error to an exit code",
				"internal/apply/a.go:4: fmt.Println: stdout belongs to the view",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Check(tt.packages)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
