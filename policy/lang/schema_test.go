package lang

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReferenceIsCommitted(t *testing.T) {
	const name = "../../docs/language.md"
	if *update {
		if err := os.WriteFile(name, Reference(), 0o644); err != nil { //nolint:gosec // documentation
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(Reference()), string(committed)); diff != "" {
		t.Errorf("docs/language.md is not what the schema says; run go test ./policy/lang -update (-schema +committed):\n%s", diff)
	}
}

// Every entry of the registry is described, names are unique, and defaults are values of their type.
func TestRegistry(t *testing.T) {
	var walk func(path string, b *Block)
	walk = func(path string, b *Block) {
		if b.Doc == "" || !strings.HasSuffix(b.Doc, ".") {
			t.Errorf("%s: a description is a sentence: %q", path, b.Doc)
		}
		seen := map[string]bool{}
		for _, a := range b.Attributes {
			if seen[a.Name] || a.Doc == "" || !strings.HasSuffix(a.Doc, ".") {
				t.Errorf("%s.%s: repeated, or its description is no sentence: %q", path, a.Name, a.Doc)
			}
			seen[a.Name] = true
			if (a.Type == TypeReference || a.Type == TypeReferences) != (a.Reference != "") {
				t.Errorf("%s.%s: reference to %q", path, a.Name, a.Reference)
			}
			if a.Default != "" && a.Type != TypeType && a.absent().IsNull() {
				t.Errorf("%s.%s: the default %s is no constant", path, a.Name, a.Default)
			}
			if v := a.absent(); !v.IsNull() && a.Type != TypeAny {
				if summary, detail := a.check(v); summary != "" {
					t.Errorf("%s.%s: default: %s. %s", path, a.Name, summary, detail)
				}
			}
			if a.Default != "" && len(a.Enum) > 0 && !slices.Contains(a.Enum, strings.Trim(a.Default, `"`)) {
				t.Errorf("%s.%s: default %s is not among %v", path, a.Name, a.Default, a.Enum)
			}
		}
		for i := range b.Blocks {
			if seen[b.Blocks[i].Type] {
				t.Errorf("%s.%s: repeated", path, b.Blocks[i].Type)
			}
			walk(path+"."+b.Blocks[i].Type, &b.Blocks[i])
		}
	}
	for i := range registry {
		walk(headerWords(&registry[i]), &registry[i])
	}
}

// conforms is the part of JSON Schema that jsonSchema uses.
func conforms(schema, value any, path string) error {
	s := schema.(map[string]any)
	if options, ok := s["anyOf"].([]any); ok {
		var errs []string
		for _, option := range options {
			err := conforms(option, value, path)
			if err == nil {
				return nil
			}
			errs = append(errs, err.Error())
		}
		return fmt.Errorf("%s: none of: %s", path, strings.Join(errs, "; "))
	}
	if e, ok := s["enum"].([]any); ok && !slices.Contains(e, value) {
		return fmt.Errorf("%s: %v is not among %v", path, value, e)
	}
	kinds := map[string]bool{}
	switch v := value.(type) {
	case string:
		kinds["string"] = true
		if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(v) {
			return fmt.Errorf("%s: %q does not match %s", path, v, p)
		}
	case bool:
		kinds["boolean"] = true
	case float64:
		kinds["integer"] = v == float64(int(v))
		if low, ok := s["minimum"].(float64); ok && v < low {
			return fmt.Errorf("%s: %v is below %v", path, v, low)
		}
		if high, ok := s["maximum"].(float64); ok && v > high {
			return fmt.Errorf("%s: %v is above %v", path, v, high)
		}
	case []any:
		kinds["array"] = true
		for i, el := range v {
			if items, ok := s["items"]; ok {
				if err := conforms(items, el, fmt.Sprintf("%s[%d]", path, i)); err != nil {
					return err
				}
			}
		}
	case map[string]any:
		kinds["object"] = true
		if err := conformsObject(s, v, path); err != nil {
			return err
		}
	}
	if want, ok := s["type"].(string); ok && !kinds[want] {
		return fmt.Errorf("%s: %v is not a %s", path, value, want)
	}
	return nil
}

func conformsObject(s, v map[string]any, path string) error {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, r := range required {
		if _, ok := v[r.(string)]; !ok {
			return fmt.Errorf("%s: %s is missing", path, r)
		}
	}
	for _, name := range sortedKeys(v) {
		sub, known := properties[name]
		if !known {
			switch more := s["additionalProperties"].(type) {
			case bool:
				if !more {
					return fmt.Errorf("%s: unknown property %s", path, name)
				}
				continue
			case map[string]any:
				sub = more
			default:
				continue
			}
		}
		if err := conforms(sub, v[name], path+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func jsonSchemaValue(t *testing.T) any {
	t.Helper()
	out, err := SchemaJSON()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		FormatVersion string `json:"format_version"`
		Blocks        []Block
		Functions     []FunctionInfo
		JSONSchema    any `json:"json_schema"`
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.FormatVersion != SchemaFormatVersion || len(doc.Functions) == 0 {
		t.Errorf("schema: version %q, %d functions", doc.FormatVersion, len(doc.Functions))
	}
	if diff := cmp.Diff(Schema().Blocks, doc.Blocks); diff != "" {
		t.Errorf("blocks after a round trip (-want +got):\n%s", diff)
	}
	return doc.JSONSchema
}

func TestJSONSchema(t *testing.T) {
	schema := jsonSchemaValue(t)
	check := func(src string) error {
		var value any
		if err := json.Unmarshal([]byte(src), &value); err != nil {
			t.Fatal(err)
		}
		return conforms(schema, value, "file")
	}
	names, err := filepath.Glob("../../examples/*/*.hf.json")
	if err != nil || len(names) == 0 {
		t.Fatal("no JSON examples", err)
	}
	for _, n := range names {
		src, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(string(src)); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
	for src, want := range map[string]string{
		`{"stroe": {}}`: "file: unknown property stroe",
		`{"store": {"a": {"url": "x", "encryption": {}, "ulr": 1}}}`:                           "file.store.a: unknown property ulr",
		`{"store": {"a": {"url": "x"}}}`:                                                       "file.store.a: encryption is missing",
		`{"retention": {"r": {"last": -1}}}`:                                                   "file.retention.r.last: none of",
		`{"retention": {"r": {"max_prune_percent": 101}}}`:                                     "file.retention.r.max_prune_percent: none of",
		`{"backup": {"b": {"source": "source.files.x", "store": "${store.x}"}}}`:               "file.backup.b.source: \"source.files.x\" does not match",
		`{"source": {"mysql": {}}}`:                                                            "file.source: unknown property mysql",
		`{"source": {"qdrant": {"v": {"api_key": "k"}}}}`:                                      "file.source.qdrant.v: urls is missing",
		`{"source": {"qdrant": {"v": {"urls": ["x"], "api_key": "k"}}}}`:                       "file.source.qdrant.v.api_key: \"k\" does not match",
		`{"backup": {"b": {"source": "${x}", "store": "${x}", "snapshot": {"mode": "fast"}}}}`: "file.backup.b.snapshot.mode: none of",
		`{"backup": {"b": {"source": "${x}", "store": "${x}", "export": {"batch": 20000}}}}`:   "file.backup.b.export.batch: none of",
		`{"backup": {"b": {"source": "${x}", "store": "${x}", "export": {"filter": []}}}}`:     "file.backup.b.export.filter: none of",
		`{"recovery": {"platform":{}}}`:                                                        "file: unknown property recovery",
	} {
		if err := check(src); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", src, err, want)
		}
	}
}
