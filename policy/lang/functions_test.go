package lang

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// functionCases is at least one call of each function, and its result as JSON.
var functionCases = []struct{ expr, want string }{
	{`abs(-3)`, `3`},
	{`alltrue([true, true])`, `true`},
	{`alltrue([true, false])`, `false`},
	{`alltrue([])`, `true`},
	{`anytrue([false, true])`, `true`},
	{`anytrue([])`, `false`},
	{`base64decode("aGk=")`, `"hi"`},
	{`base64encode("hi")`, `"aGk="`},
	{`basename("/a/b.txt")`, `"b.txt"`},
	{`bytes("10GiB")`, `10737418240`},
	{`seconds("1d12h")`, `129600`},
	{`seconds("90ms") < 1`, `true`},
	{`bytes("1.5 kB")`, `1500`},
	{`can(local)`, `false`},
	{`ceil(1.2)`, `2`},
	{`chomp("a\n")`, `"a"`},
	{`chunklist([1, 2, 3], 2)`, `[[1,2],[3]]`},
	{`coalesce(null, "a")`, `"a"`},
	{`coalescelist([], [1])`, `[1]`},
	{`compact(["a", "", "b"])`, `["a","b"]`},
	{`concat([1], [2])`, `[1,2]`},
	{`contains(["a"], "a")`, `true`},
	{`csvdecode("a,b\n1,2\n")`, `[{"a":"1","b":"2"}]`},
	{`dirname("/a/b.txt")`, `"/a"`},
	{`distinct(["a", "a"])`, `["a"]`},
	{`duration("168h")`, `"7d"`},
	{`duration("1d12h")`, `"36h"`},
	{`element(["a", "b"], 3)`, `"b"`},
	{`endswith("abc", "bc")`, `true`},
	{`env("SET")`, `"value"`},
	{`env("UNSET", "default")`, `"default"`},
	{`file("note.txt")`, `"text"`},
	{`flatten([[1], [2, [3]]])`, `[1,2,3]`},
	{`floor(1.8)`, `1`},
	{`format("%s-%03d", "a", 7)`, `"a-007"`},
	{`formatdate("YYYY-MM-DD", "2026-11-22T02:00:00Z")`, `"2026-11-22"`},
	{`formatlist("%s!", ["a", "b"])`, `["a!","b!"]`},
	{`indent(2, "a\nb")`, `"a\n  b"`},
	{`index(["a", "b"], "b")`, `1`},
	{`join("-", ["a", "b"])`, `"a-b"`},
	{`jsondecode("{\"a\":1}")`, `{"a":1}`},
	{`jsonencode({a = 1})`, `"{\"a\":1}"`},
	{`keys({b = 1, a = 2})`, `["a","b"]`},
	{`length("añb")`, `3`},
	{`length([1, 2])`, `2`},
	{`length({a = 1})`, `1`},
	{`log(8, 2)`, `3`},
	{`lookup({a = 1}, "a", 2)`, `1`},
	{`lookup({a = 1}, "b", 2)`, `2`},
	{`lookup({a = 1}, "a")`, `1`},
	{`lower("AB")`, `"ab"`},
	{`max(1, 3, 2)`, `3`},
	{`md5("")`, `"d41d8cd98f00b204e9800998ecf8427e"`},
	{`merge({a = 1}, {a = 2, b = 3})`, `{"a":2,"b":3}`},
	{`min(1, 3, 2)`, `1`},
	{`nonsensitive(env("SET"))`, `"value"`},
	{`nonsensitive("plain")`, `"plain"`},
	{`one([7])`, `7`},
	{`one([])`, `null`},
	{`parseint("ff", 16)`, `255`},
	{`pathexpand("~/keys")`, `"/home/me/keys"`},
	{`pathexpand("/keys")`, `"/keys"`},
	{`pow(2, 10)`, `1024`},
	{`range(3)`, `[0,1,2]`},
	{`regex("[a-z]+", "12ab")`, `"ab"`},
	{`regexall("[a-z]", "a1b")`, `["a","b"]`},
	{`replace("a.b", ".", "-")`, `"a-b"`},
	{`replace("a12b", "/[0-9]+/", "-")`, `"a-b"`},
	{`reverse([1, 2])`, `[2,1]`},
	{`sensitive("x")`, `"x"`},
	{`setintersection(["a", "b"], ["b"])`, `["b"]`},
	{`setproduct(["a"], ["b", "c"])`, `[["a","b"],["a","c"]]`},
	{`setsubtract(["a", "b"], ["b"])`, `["a"]`},
	{`setunion(["a"], ["b"])`, `["a","b"]`},
	{`sha256("")`, `"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`},
	{`signum(-5)`, `-1`},
	{`slice([1, 2, 3], 1, 2)`, `[2]`},
	{`sort(["b", "a"])`, `["a","b"]`},
	{`split(",", "a,b")`, `["a","b"]`},
	{`startswith("abc", "ab")`, `true`},
	{`strcontains("abc", "b")`, `true`},
	{`strrev("abc")`, `"cba"`},
	{`substr("abcd", 1, 2)`, `"bc"`},
	{`sum([1, 2, 3])`, `6`},
	{`timeadd("2026-11-22T02:00:00Z", "1h")`, `"2026-11-22T03:00:00Z"`},
	{`title("ab cd")`, `"Ab Cd"`},
	{`tobool("true")`, `true`},
	{`tolist(["a"])`, `["a"]`},
	{`tomap({a = 1})`, `{"a":1}`},
	{`tonumber("5")`, `5`},
	{`toset(["a", "a"])`, `["a"]`},
	{`tostring(5)`, `"5"`},
	{`trim("xax", "x")`, `"a"`},
	{`trimprefix("abc", "a")`, `"bc"`},
	{`trimspace(" a ")`, `"a"`},
	{`trimsuffix("abc", "c")`, `"ab"`},
	{`try({}.a, "b")`, `"b"`},
	{`type(["a"])`, `"tuple([string])"`},
	{`upper("ab")`, `"AB"`},
	{`urlencode("a b/c")`, `"a+b%2Fc"`},
	{`values({b = 1, a = 2})`, `[2,1]`},
	{`yamldecode("a: 1")`, `{"a":1}`},
	{`yamlencode({a = 1})`, `"\"a\": 1\n"`},
	{`zipmap(["a"], [1])`, `{"a":1}`},
}

func testEvaluator() *evaluator {
	s := settings{Env: map[string]string{"SET": "value", "HOME": "/home/me"}, Files: map[string]string{"note.txt": "text"}}
	return newEvaluator(&config{report: newReporter(), secrets: &recorder{}, met: &recorder{}, options: s.options()}, modeLoad)
}

func evaluate(t testing.TB, expr string) (cty.Value, hcl.Diagnostics) {
	t.Helper()
	parsed, ds := hclsyntax.ParseExpression([]byte(expr), "test", hcl.InitialPos)
	if ds.HasErrors() {
		t.Fatal(ds)
	}
	return parsed.Value(&hcl.EvalContext{Functions: testEvaluator().functions()})
}

func TestFunctions(t *testing.T) {
	called := map[string]bool{}
	for _, c := range functionCases {
		name, _, _ := strings.Cut(c.expr, "(")
		called[name] = true
		v, ds := evaluate(t, c.expr)
		if ds.HasErrors() {
			t.Errorf("%s: %v", c.expr, ds)
			continue
		}
		v, _ = v.UnmarkDeep()
		got, err := ctyjson.Marshal(v, v.Type())
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v; want %s", c.expr, got, err, c.want)
		}
	}
	var there, documented []string
	for name := range testEvaluator().funcs {
		there = append(there, name)
		if !called[name] {
			t.Errorf("%s has no case", name)
		}
	}
	for _, f := range Schema().Functions {
		documented = append(documented, f.Name)
	}
	slices.Sort(there)
	if diff := cmp.Diff(there, documented); diff != "" {
		t.Errorf("functions and their documentation (-there +documented):\n%s", diff)
	}
}

func TestFunctionErrors(t *testing.T) {
	for _, c := range []struct{ expr, want string }{
		{`base64decode("?")`, "the argument is not base64"},
		{`base64decode("/w==")`, "what the argument decodes to is not text"},
		{`seconds("one day")`, `is not a duration`},
		{`bytes("ten")`, `"ten" is not an amount of data`},
		{`bytes("1e30TB")`, `is not an amount of data`},
		{`duration("soon")`, `"soon" is not a duration`},
		{`env("A", "b", "c")`, "env takes a name and at most one default"},
		{`index(["a"], "b")`, "the list has no such element"},
		{`length(true)`, "the argument must be a text, a list, a map or a set"},
		{`lookup({}, "a")`, "the map has no such key"},
		{`one([1, 2])`, "it has more than one element"},
		{`replace("a", "/(/", "")`, "error parsing regexp"},
		{`sum([null])`, "an element is null"},
	} {
		_, ds := evaluate(t, c.expr)
		if !ds.HasErrors() || !strings.Contains(ds.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.expr, ds, c.want)
		}
	}
}

// Whatever passes through a function stays sensitive.
func TestMarksSurviveFunctions(t *testing.T) {
	for _, expr := range []string{
		`upper(env("SET"))`, `"a${env("SET")}"`, `join("", [env("SET")])`, `length(env("SET"))`, `jsonencode({a = env("SET")})`, `env("UNSET", "x")`,
		`[for x in [env("SET")]: x]`, `env("SET") == "value" ? 1 : 2`, `merge({}, {a = env("SET")})`, `sensitive("x")`, `split("", env("UNSET"))`, `try(env("SET"), 1)`,
	} {
		v, ds := evaluate(t, expr)
		if ds.HasErrors() || secretOf(v) == nil {
			t.Errorf("%s lost its mark: %#v, %v", expr, v, ds)
		}
	}
	for _, expr := range []string{`nonsensitive(env("SET"))`, `nonsensitive({a = [env("SET")]})`} {
		if v, ds := evaluate(t, expr); ds.HasErrors() || secretOf(v) != nil {
			t.Errorf("%s kept its mark: %v", expr, ds)
		}
	}
}
