package plan_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/state"
)

var now = time.Date(2026, 11, 22, 2, 0, 0, 0, time.UTC)

// sample holds every kind of thing a plan can hold.
func sample() plan.Plan {
	p := plan.Plan{
		Lineage: "l1", Serial: 41, Now: now, Targets: []string{"backup.app"},
		Changes: []plan.Change{
			{Address: "backup.old", Kind: plan.Forget, Reason: plan.ReasonNotDeclared, Why: "no longer declared"},
			{
				Address: "retention.standard", Kind: plan.Update, Reason: plan.ReasonEdited, Why: "makes 7 more restore points expire (8.1 GiB)", Points: 7, Bytes: 8_700_000_000,
				Attributes: []plan.Attribute{{Path: "daily", Before: "14", After: "7"}},
			},
			{Address: "store.new", Kind: plan.Add, Reason: plan.ReasonDeclared, Why: "declared, not applied yet"},
		},
		Actions: []plan.Action{
			{ID: "initialize store.new", Kind: plan.Initialize, Address: "store.new", Store: "store.new", Reason: plan.ReasonNoRepository, Why: "the store has no repository yet"},
			{ID: "back up backup.app", Kind: plan.Backup, Address: "backup.app", Store: "store.new", Slot: now, Reason: plan.ReasonSlot, Why: "slot passed", Bytes: 1 << 30, Seconds: 61.5, After: []string{"initialize store.new"}},
			{ID: "verify backup.app", Kind: plan.Verify, Address: "backup.app", Level: "read", Reason: plan.ReasonVerifyAfter, Why: "each new copy is read back", After: []string{"back up backup.app"}},
			{ID: "expire backup.app p1", Kind: plan.Expire, Address: "backup.app", Point: "p1", Reason: plan.ReasonRetention, Why: "not in last 3", Bytes: 1_300_000_000, After: []string{"back up backup.app", "verify backup.app"}},
		},
		Windows:     []plan.Window{{Address: "backup.app", Before: plan.Span{From: now.AddDate(0, -1, 0), To: now, Points: 9}, After: plan.Span{From: now.AddDate(0, 0, -7), To: now, Points: 8}, Lost: true}},
		Diagnostics: diag.List{diag.NewWarning("backup.app", "The newest restore point is 26h old", "This plan makes a new one.")},
		Blocks:      []plan.Block{{Guard: "max_prune_percent", Address: "backup.app", Why: "too many"}},
		Versions:    map[string]string{"backup.app": "v1"},
	}
	p.Fingerprint = plan.Fingerprint(p)
	return p
}

func TestSummary(t *testing.T) {
	for _, tc := range []struct {
		p    plan.Plan
		want string
	}{
		{plan.Plan{}, "No changes. What is declared was applied, and nothing is due."},
		{sample(), "Plan: 1 to add, 1 to change, 1 to forget. Actions: 1 initialize, 1 backup, 1 verify, 1 expire (1.2 GiB)."},
		{plan.Plan{Changes: []plan.Change{{Kind: plan.Adopt}}}, "Plan: 0 to add, 0 to change, 0 to forget, 1 to adopt."},
		{
			plan.Plan{Actions: []plan.Action{{Kind: plan.Backup}, {Kind: plan.Backup}, {Kind: plan.Expire}, {Kind: plan.Expire}, {Kind: plan.Recover}}},
			"Plan: 0 to add, 0 to change, 0 to forget. Actions: 1 recover, 2 backups, 2 expires (0 B).",
		},
	} {
		if got := plan.Summary(tc.p).Line; got != tc.want {
			t.Errorf("Line = %q, want %q", got, tc.want)
		}
	}
}

func TestRoundTrips(t *testing.T) {
	for _, p := range []plan.Plan{sample(), {Changes: []plan.Change{}, Actions: []plan.Action{}, Windows: []plan.Window{}, Now: now, Fingerprint: plan.Fingerprint(plan.Plan{})}} {
		data, err := plan.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := plan.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got); diff != "" {
			t.Errorf("Decode(Encode) (-want +got):\n%s", diff)
		}
		file, err := plan.EncodeFile(p, "hash", p.Now)
		if err != nil {
			t.Fatal(err)
		}
		f, err := plan.DecodeFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := plan.File{Plan: p, PolicyHash: "hash", Created: now, Expires: now.Add(24 * time.Hour)}
		if diff := cmp.Diff(want, f); diff != "" {
			t.Errorf("DecodeFile(EncodeFile) (-want +got):\n%s", diff)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                         "decode plan: unexpected end",
		`[]`:                       "decode plan: json",
		`{}`:                       `format_version ""`,
		`{"format_version":"2.0"}`: `format_version "2.0" is not one`,
		`{"format_version":"1.7","serial":"many"}`: "decode plan: json",
	} {
		if _, err := plan.Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%s) = %v, want %q", text, err, want)
		}
	}
}

// TestDecodeFileTellsForeignFromDamaged flips each byte of a saved plan: none goes unnoticed.
func TestDecodeFileTellsForeignFromDamaged(t *testing.T) {
	data, err := plan.EncodeFile(sample(), "hash", sample().Now)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                         "not a plan file",
		"PK\x03\x04":               "not a plan file",
		`{"format_version":"1.0"`:  "not a plan file",
		"holdfast plan file 9\nx":  "another file format",
		"holdfast plan file 1\n":   "damaged",
		string(data[:len(data)/2]): "damaged",
	} {
		if _, err := plan.DecodeFile([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DecodeFile(%.20q) = %v, want %q", text, err, want)
		}
	}
	for i := range data {
		data[i] ^= 0x20
		if _, err := plan.DecodeFile(data); err == nil {
			t.Fatalf("byte %d flipped: no error", i)
		}
		data[i] ^= 0x20
	}
}

func TestFingerprintCountsDecisionsOnly(t *testing.T) {
	want := plan.Fingerprint(sample())
	same := map[string]func(*plan.Plan){
		"moment, serial": func(p *plan.Plan) { p.Now, p.Serial, p.Lineage = now.Add(time.Hour), 99, "l2" },
		"sentences":      func(p *plan.Plan) { p.Changes[1].Why, p.Actions[3].Why = "x", "y" },
		"costs":          func(p *plan.Plan) { p.Changes[1].Bytes, p.Changes[1].Points, p.Actions[3].Bytes = 1, 2, 3 },
		"what is due":    func(p *plan.Plan) { p.Actions = p.Actions[3:] },
		"order":          func(p *plan.Plan) { p.Changes[0], p.Changes[2] = p.Changes[2], p.Changes[0] },
	}
	other := map[string]func(*plan.Plan){
		"a value":         func(p *plan.Plan) { p.Changes[1].Attributes[0].After = "6" },
		"a change less":   func(p *plan.Plan) { p.Changes = p.Changes[1:] },
		"another kind":    func(p *plan.Plan) { p.Changes[0].Kind = plan.Adopt },
		"another point":   func(p *plan.Plan) { p.Actions[3].Point = "p2" },
		"an expiry less":  func(p *plan.Plan) { p.Actions = p.Actions[:3] },
		"another address": func(p *plan.Plan) { p.Actions[3].Address = "backup.web" },
	}
	for name, edit := range same {
		p := sample()
		edit(&p)
		if plan.Fingerprint(p) != want || plan.Diff(sample(), p) != "" {
			t.Errorf("%s: another fingerprint, difference %q", name, plan.Diff(sample(), p))
		}
	}
	for name, edit := range other {
		p := sample()
		edit(&p)
		if plan.Fingerprint(p) == want || plan.Diff(sample(), p) == "" {
			t.Errorf("%s: the same fingerprint, difference %q", name, plan.Diff(sample(), p))
		}
	}
}

func TestDiffNamesBothSides(t *testing.T) {
	b := sample()
	b.Changes[1].Attributes[0].After = "6"
	b.Actions[3].Point = "p2"
	want := strings.Join([]string{
		"- change retention.standard: daily 14 -> 7",
		"- expire backup.app p1",
		"+ change retention.standard: daily 14 -> 6",
		"+ expire backup.app p2",
	}, "\n")
	if diff := cmp.Diff(want, plan.Diff(sample(), b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStale(t *testing.T) {
	catalog := func() state.Catalog {
		return state.Catalog{
			Lineage: "l1", Serial: 41,
			Objects: map[string]state.Object{"backup.app": {Hash: "h1"}, "retention.standard": {Hash: "h2"}, "backup.web": {Hash: "h3"}},
			Points:  map[string][]state.RestorePoint{"backup.app": {{ID: "p1"}, {ID: "p2"}}, "backup.web": {{ID: "q1"}}},
		}
	}
	p := sample()
	p.Versions = plan.Versions(p, catalog())
	for _, tc := range []struct {
		name string
		edit func(*state.Catalog)
		want error
		says string
	}{
		{"unchanged", func(*state.Catalog) {}, nil, ""},
		{"another backup went on", func(c *state.Catalog) {
			c.Serial = 50
			c.Points["backup.web"] = append(c.Points["backup.web"], state.RestorePoint{ID: "q2"})
		}, nil, ""},
		{"a proof came", func(c *state.Catalog) {
			c.Serial = 42
			c.Points["backup.app"][0].Copies = []state.Copy{{Proofs: []state.Proof{{OK: true}}}}
		}, nil, ""},
		{"a copy came", func(c *state.Catalog) {
			c.Serial = 42
			c.Points["backup.app"][1].Copies = []state.Copy{{Store: "store.a"}, {Store: "store.b"}}
		}, nil, ""},
		{"a point was held that stays anyway", func(c *state.Catalog) {
			c.Serial = 42
			c.Points["backup.app"][1].Hold = &state.Hold{Reason: "audit"}
		}, nil, ""},
		{"a point was held that the plan expires", func(c *state.Catalog) {
			c.Serial = 42
			c.Points["backup.app"][0].Hold = &state.Hold{Reason: "audit"}
		}, state.ErrStale, "backup.app changed between serial 41 and 42"},
		{"a point came", func(c *state.Catalog) {
			c.Serial = 42
			c.Points["backup.app"] = append(c.Points["backup.app"], state.RestorePoint{ID: "p3"})
		}, state.ErrStale, "backup.app changed between serial 41 and 42"},
		{"the policy was applied by somebody else", func(c *state.Catalog) {
			c.Serial = 42
			c.Objects["retention.standard"] = state.Object{Hash: "h9"}
		}, state.ErrStale, "retention.standard changed"},
		{"an older state came back", func(c *state.Catalog) { c.Serial = 40 }, state.ErrStale, "at serial 40, before serial 41"},
		{"another state", func(c *state.Catalog) { c.Lineage = "l2" }, state.ErrLineage, `made for "l1", this is "l2"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := catalog()
			tc.edit(&c)
			err := plan.Stale(p, c)
			if !errors.Is(err, tc.want) || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("Stale = %v, want %v saying %q", err, tc.want, tc.says)
			}
		})
	}
}

// TestTextCannotBeForged: names from a catalog or a policy cannot add lines or steer a terminal.
func TestTextCannotBeForged(t *testing.T) {
	p := sample()
	evil := "x\n\x1b[2J\u202eNo changes.\r```\n</details>"
	p.Actions[1].Address, p.Actions[3].Why, p.Changes[1].Attributes[0].After = evil, evil, evil
	p.Windows[0].Address, p.Blocks[0].Why = evil, evil
	for name, got := range map[string]string{"text": plan.Text(p), "markdown": plan.Markdown(p)} {
		if strings.ContainsAny(got, "\x1b\r\u202e") || strings.Contains(got, "\nNo changes") || strings.Contains(got, "\n</details>N") {
			t.Errorf("%s carries what it was given:\n%q", name, got)
		}
	}
	if n := strings.Count(plan.Markdown(p), "```"); n%2 != 0 {
		t.Errorf("%d fences", n)
	}
}

func TestMarkdownNeverExceedsItsLimit(t *testing.T) {
	big := sample()
	for i := range 5000 {
		id := fmt.Sprintf("p%05d", i)
		big.Actions = append(big.Actions, plan.Action{ID: "expire backup.app " + id, Kind: plan.Expire, Address: "backup.app", Point: id, Why: "not in last 3"})
		big.Blocks = append(big.Blocks, plan.Block{Guard: "g", Address: id, Why: "w"})
		big.Windows = append(big.Windows, plan.Window{Address: id, Lost: true, Before: plan.Span{Points: 1}})
		big.Diagnostics = append(big.Diagnostics, diag.NewWarning(id, "old", "make one"))
	}
	for name, p := range map[string]plan.Plan{"all": big, "expiries": {Actions: big.Actions, Now: now}, "small": sample()} {
		got := plan.Markdown(p)
		if len(got) > plan.MarkdownLimit {
			t.Errorf("%s: %d bytes", name, len(got))
		}
		if cut := strings.Contains(got, plan.NotApprovable); cut != (name != "small") {
			t.Errorf("%s: marked as not approvable: %t", name, cut)
		}
		if !strings.Contains(got, "Fingerprint `"+p.Fingerprint+"`") || !strings.Contains(got, plan.Summary(p).Line[:20]) {
			t.Errorf("%s: verdict or fingerprint is missing", name)
		}
	}
}

func TestWindowsToTheSecondWhereNeeded(t *testing.T) {
	w := plan.Window{
		Address: "backup.app", Lost: true,
		Before: plan.Span{From: now, To: now.Add(20 * time.Second), Points: 2}, After: plan.Span{From: now.Add(20 * time.Second), To: now.Add(20 * time.Second), Points: 1},
	}
	want := "  backup.app  2026-11-22 02:00:00 to 2026-11-22 02:00:20 (2 points) -> 2026-11-22 02:00 (1 point); loses 2026-11-22 02:00:00 to 2026-11-22 02:00:20\n"
	if got := plan.Text(plan.Plan{Windows: []plan.Window{w}}); !strings.Contains(got, want) {
		t.Errorf("Text = %q, want it to hold %q", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	data, err := plan.Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format_version":"1.0"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := plan.Decode(data)
		if err != nil {
			return
		}
		again, err := plan.Encode(p)
		if err != nil {
			t.Skip("a moment outside of what JSON can say")
		}
		q, err := plan.Decode(again)
		if err != nil {
			t.Fatalf("Decode(Encode): %v", err)
		}
		if diff := cmp.Diff(plan.Fingerprint(p), plan.Fingerprint(q)); diff != "" {
			t.Fatalf("fingerprint (-first +second):\n%s", diff)
		}
		if len(plan.Markdown(p)) > plan.MarkdownLimit {
			t.Fatal("Markdown exceeds its limit")
		}
		plan.Text(p)
	})
}

func FuzzDecodeFile(f *testing.F) {
	data, err := plan.EncodeFile(sample(), "hash", sample().Now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := plan.DecodeFile(data)
		if err == nil && file.Plan.Fingerprint != plan.Fingerprint(file.Plan) {
			t.Fatal("a plan that does not match its fingerprint was accepted")
		}
	})
}
