package qdrant

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/qdrantserver/qdranttest"
)

// In what follows P stands for the names' prefix. The restore point holds the collections Pa and Pb, the aliases P1 and P2 of
// Pa, and P3 of Pb.
func TestAliases(t *testing.T) {
	s := qdranttest.Shared(t)
	for _, c := range []struct {
		name    string
		lost    []string          // collections that are gone when the restore begins
		now     map[string]string // where aliases point then; those of the point are gone unless they stand here
		there   string            // a collection that is there beside
		root    string
		only    []string
		replace bool
		option  string
		want    []string
		notes   []string // of the preview
		said    string   // by the result
	}{
		{
			name: "they come back with their collections", lost: []string{"a", "b"},
			want:  []string{"1 -> a", "2 -> a", "3 -> b"},
			notes: []string{"alias 1 will point to a", "alias 2 will point to a", "alias 3 will point to b"},
			said:  "1: the alias points to a now\n2: the alias points to a now\n3: the alias points to b now",
		},
		{
			name: "only those of what is restored", lost: []string{"a", "b"}, only: []string{"b"},
			want: []string{"3 -> b"}, notes: []string{"alias 3 will point to b"}, said: "3: the alias points to b now",
		},
		{
			name: "one that points elsewhere is left alone", lost: []string{"a", "b"}, there: "c", now: map[string]string{"1": "c"},
			want:  []string{"1 -> c", "2 -> a", "3 -> b"},
			notes: []string{"alias 1 points to c and stays so; -aliases points it to a"},
			said:  "2: the alias points to a now\n3: the alias points to b now",
		},
		{
			name: "unless it is asked for", lost: []string{"a", "b"}, there: "c", now: map[string]string{"1": "c"}, option: "true",
			want:  []string{"1 -> a", "2 -> a", "3 -> b"},
			notes: []string{"alias 1 will point to a (now: c)"},
			said:  "1: the alias points to a now\n2: the alias points to a now\n3: the alias points to b now",
		},
		{
			name: "under other names they stay", root: "*_new", now: map[string]string{"1": "a", "2": "a", "3": "b"},
			want: []string{"1 -> a", "2 -> a", "3 -> b"},
		},
		{
			name: "under other names the free ones are not made", root: "*_new", now: map[string]string{"1": "a"},
			want:  []string{"1 -> a"},
			notes: []string{"alias 2 is not restored: a comes back under another name; -aliases points it there"},
		},
		{
			name: "under other names they are switched when asked for", root: "*_new", now: map[string]string{"1": "a", "3": "b"}, option: "true",
			want:  []string{"1 -> a_new", "2 -> a_new", "3 -> b_new"},
			notes: []string{"alias 1 will point to a_new (now: a)", "alias 2 will point to a_new"},
			said:  "1: the alias points to a_new now\n2: the alias points to a_new now\n3: the alias points to b_new now",
		},
		{
			name: "those of what is replaced survive", replace: true, now: map[string]string{"1": "a", "4": "a", "5": "b"},
			want: []string{"1 -> a", "2 -> a", "3 -> b", "4 -> a", "5 -> b"},
			said: "2: the alias points to a now\n3: the alias points to b now",
		},
		{
			name: "one has become a collection", lost: []string{"a", "b"}, there: "1",
			want:  []string{"2 -> a", "3 -> b"},
			notes: []string{"alias 1 is not restored: a collection has that name"},
			said:  "2: the alias points to a now\n3: the alias points to b now",
		},
		{
			name: "one has become a collection, asked for", lost: []string{"a", "b"}, there: "1", option: "true",
			want:  []string{"2 -> a", "3 -> b"},
			notes: []string{"alias 1 is not restored: a collection has that name"},
			said:  "2: the alias points to a now\n3: the alias points to b now",
		},
		{
			name: "one becomes the collection's name", only: []string{"b"}, root: "P3", option: "true",
			want:  nil,
			notes: []string{"alias 3 is not restored: a collection has that name"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.Name(t, "aliases")
			full := func(list []string) (out []string) {
				for _, name := range list {
					out = append(out, p+name)
				}
				return out
			}
			short := func(text string) string { return strings.ReplaceAll(text, p, "") }
			s.Fill(t, p+"a", nil, 11, 4)
			s.Fill(t, p+"b", nil, 12, 4)
			addAliases(t, s, p+"a", p+"1", p+"2")
			addAliases(t, s, p+"b", p+"3")
			r := newRun(t, sourceOf(s, p+"?"), snapshots(policy.SnapshotAuto))
			from := r.make("p1")
			for _, name := range []string{"1", "2", "3"} {
				s.Do(t, "POST", "/collections/aliases", map[string]any{"actions": []any{map[string]any{"delete_alias": map[string]any{"alias_name": p + name}}}})
			}
			for _, name := range c.lost {
				s.Do(t, "DELETE", path("collections", p+name), nil)
			}
			if c.there != "" {
				s.Fill(t, p+c.there, nil, 3, 2)
			}
			for _, name := range sortedKeys(c.now) {
				addAliases(t, s, p+c.now[name], p+name)
			}
			req := r.request(strings.ReplaceAll(c.root, "P", p))
			req.Only, req.Replace = full(c.only), c.replace
			if c.option != "" {
				req.Options["aliases"] = c.option
			}
			pre, res, err := r.both(req, from)
			if err != nil {
				t.Fatal(err)
			}
			notes := strings.Split(short(strings.Join(pre.Notes, "\n")), "\n")
			for _, want := range c.notes {
				if !slices.Contains(notes, want) {
					t.Errorf("the preview does not say %q: %q", want, notes)
				}
			}
			if got := slices.IndexFunc(notes, func(n string) bool { return strings.HasPrefix(n, "alias") }); c.notes == nil && c.said == "" && got >= 0 {
				t.Errorf("the preview says %q", notes[got])
			}
			var got []string
			for _, line := range aliasesAt(t, s, p) {
				got = append(got, short(line))
			}
			if d := cmp.Diff([]any{c.want, c.said, ""}, []any{got, short(doubtful(res)), missing(res)}); d != "" {
				t.Errorf("aliases, problems, missing (-want +got):\n%s", d)
			}
		})
	}
	noLeftovers(t, s)
}

// Readers must see all aliases move at once, and only when everything is there; those of a replaced collection are back as soon
// as it is. The order of requests shows on a server of our own.
func TestAliasesMoveLastAndAtOnce(t *testing.T) {
	for _, replace := range []bool{false, true} {
		s := qdranttest.Start(t, qdrantserver.Options{})
		for _, name := range []string{"a", "b", "c"} {
			s.Fill(t, name, nil, 30, 4)
		}
		addAliases(t, s, "a", "a-1", "a-2")
		addAliases(t, s, "b", "b-1", "b-2")
		r := newRun(t, sourceOf(s, "a", "b"), snapshots(policy.SnapshotAuto))
		from := r.make("p1")
		addAliases(t, s, "c", "a-2", "b-2")
		begun := len(s.Own.Requests())
		if _, err := r.back(from, map[bool]string{true: "*", false: "*_new"}[replace], replace, "aliases", "true"); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, line := range s.Own.Requests()[begun:] {
			for _, what := range []string{"POST /collections/aliases", "/a/shards/0/snapshots/recover", "/b/shards/0/snapshots/recover", "_new/shards/0/snapshots/recover", "DELETE /collections/hf_"} {
				if strings.Contains(line, what) {
					got = append(got, what)
				}
			}
		}
		want := []string{"_new/shards/0/snapshots/recover", "_new/shards/0/snapshots/recover", "POST /collections/aliases"}
		aliases := []string{"a-1 -> a_new", "a-2 -> a_new", "b-1 -> b_new", "b-2 -> b_new"}
		if replace {
			want = []string{
				"/a/shards/0/snapshots/recover", "POST /collections/aliases", "DELETE /collections/hf_",
				"/b/shards/0/snapshots/recover", "POST /collections/aliases", "DELETE /collections/hf_", "POST /collections/aliases",
			}
			aliases = []string{"a-1 -> a", "a-2 -> a", "b-1 -> b", "b-2 -> b"}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("replace=%t: requests (-want +got):\n%s", replace, d)
		}
		if d := cmp.Diff(aliases, aliasesAt(t, s, "")); d != "" {
			t.Errorf("replace=%t: aliases (-want +got):\n%s", replace, d)
		}
	}
}

// Aliases that change while a backup reads are told, and recorded as they are at the end.
func TestAliasesChangeDuringABackup(t *testing.T) {
	s := qdranttest.Shared(t)
	name := s.Name(t, "moving")
	s.Fill(t, name, nil, 30, 4)
	addAliases(t, s, name, name+"-1")
	r := newRun(t, sourceOf(s, name), snapshots(policy.SnapshotAuto))
	done := false
	r.faults.BeforeOpen = func(executors.Entry) {
		if !done {
			done = true
			addAliases(t, s, name, name+"-2")
		}
	}
	_, res, err := r.try("p1")
	if err != nil || missing(res) != "" {
		t.Fatalf("%v %s", err, missing(res))
	}
	if got := doubtful(res); !strings.Contains(got, "aliases were changed while the collections were read; those of the end are recorded") {
		t.Errorf("problems: %q", got)
	}
	if d := cmp.Diff([]alias{{name + "-1", name}, {name + "-2", name}}, contentsOf(t, r.store.Supply("p1")).point.Aliases); d != "" {
		t.Errorf("aliases (-want +got):\n%s", d)
	}
}
