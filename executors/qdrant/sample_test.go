package qdrant

import (
	"encoding/json"
	"testing"
)

func TestCanonical(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"keys are sorted, at every depth", `{"b": [{"z": 1, "a": 2}], "a": null}`, `{"a":null,"b":[{"a":2,"z":1}]}`},
		{"1.0 is 1", `[1.0, -2.0, 1e2, 0.5, 1e-3]`, `[1,-2,100,0.5,0.001]`},
		{"-0.0 is 0", `[-0.0, 0]`, `[0,0]`},
		{"integers keep their digits", `[9007199254740993, 18446744073709551615, -9223372036854775808]`, `[9007199254740993,18446744073709551615,-9223372036854775808]`},
		{"float32 keeps its digits", `[0.10000000149011612, 3.4028235e38]`, `[0.10000000149011612,3.4028235e+38]`},
		{"null is the empty payload", `null`, `{}`},
		{"nothing is the empty payload", ``, `{}`},
		{"texts are left alone", `"1.0 <&> é"`, `"1.0 \u003c\u0026\u003e é"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := canonical(json.RawMessage(c.in), exactDigits)
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
			again, err := canonical(got, exactDigits)
			if err != nil || string(again) != string(got) {
				t.Errorf("its own text becomes %s, %v", again, err)
			}
		})
	}
	for _, bad := range []string{`{`, `1 2`, `{"a":1}x`, `nul`} {
		if got, err := canonical(json.RawMessage(bad), exactDigits); err == nil {
			t.Errorf("%s became %s", bad, got)
		}
	}
}

// Equal points have equal sums, whatever way a server writes them; others have not.
func TestSample(t *testing.T) {
	all := fields{payload: true, vectors: true}
	base := record{ID: raw(`7`), Payload: raw(`{"a": 1, "b": {"c": null}}`), Vector: raw(`{"text": [1, 0.5]}`)}
	sum := func(r record, parts fields) string {
		t.Helper()
		s, err := r.sample(parts)
		if err != nil {
			t.Fatal(err)
		}
		return s.Sum
	}
	for _, c := range []struct {
		name string
		r    record
		same bool
	}{
		{"another order and form", record{ID: raw(`7`), Payload: raw(`{"b":{"c":null},"a":1.0}`), Vector: raw(`{"text":[1.0,5e-1]}`)}, true},
		{"a shard key is no part of the point", record{ID: raw(`7`), Payload: base.Payload, Vector: base.Vector, ShardKey: raw(`"k"`)}, true},
		{"another id", record{ID: raw(`8`), Payload: base.Payload, Vector: base.Vector}, false},
		{"null is not absent", record{ID: raw(`7`), Payload: raw(`{"a": 1, "b": {}}`), Vector: base.Vector}, false},
		{"a text is no number", record{ID: raw(`7`), Payload: raw(`{"a": "1", "b": {"c": null}}`), Vector: base.Vector}, false},
		{"another vector", record{ID: raw(`7`), Payload: base.Payload, Vector: raw(`{"text": [1, 0.25]}`)}, false},
		{"a vector less", record{ID: raw(`7`), Payload: base.Payload, Vector: raw(`{}`)}, false},
		{"no payload", record{ID: raw(`7`), Vector: base.Vector}, false},
	} {
		if same := sum(base, all) == sum(c.r, all); same != c.same {
			t.Errorf("%s: same = %v", c.name, same)
		}
	}
	without := record{ID: raw(`7`), Payload: raw(`{}`)}
	if sum(base, fields{}) != sum(without, fields{}) {
		t.Error("parts that are not kept make a difference")
	}
	if got := (&record{ShardKey: raw(`null`)}).key(); got != nil {
		t.Errorf("no shard key is %s", got)
	}
	if got := (&record{ShardKey: raw(`"k"`)}).key(); string(got) != `"k"` {
		t.Errorf("the shard key is %s", got)
	}
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }
