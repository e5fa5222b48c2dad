package lang

import "encoding/json"

// SchemaFormatVersion is the version of SchemaJSON's form.
const SchemaFormatVersion = "1.0"

// SchemaJSON is the language as data: blocks, functions, and a JSON Schema (draft 2020-12) for *.hf.json files.
func SchemaJSON() ([]byte, error) {
	doc := struct {
		FormatVersion string `json:"format_version"`
		*Language
		JSONSchema map[string]any `json:"json_schema"`
	}{SchemaFormatVersion, Schema(), jsonSchema()}
	out, err := json.MarshalIndent(doc, "", "  ")
	return append(out, '\n'), err
}

type schemaObject = map[string]any

// jsonSchema describes files in HCL's JSON syntax. Everything may be an expression in a text, so that every type also
// allows a text with "${".
func jsonSchema() schemaObject {
	properties := schemaObject{"//": schemaObject{"description": "A comment."}}
	for _, typ := range topLevelTypes() {
		if kinds := kindsOf(typ); len(kinds) > 0 {
			byKind := schemaObject{}
			for _, k := range kinds {
				if b := topLevel(typ, k); !b.Unavailable {
					byKind[k] = named(bodyJSON(b))
				}
			}
			properties[typ] = schemaObject{"type": "object", "properties": byKind, "additionalProperties": false}
			continue
		}
		b := topLevel(typ, "")
		switch {
		case b.Unavailable:
		case b.Named:
			properties[typ] = named(bodyJSON(b))
		default:
			properties[typ] = oneOrMany(bodyJSON(b), b.Repeatable)
		}
	}
	return schemaObject{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "holdfast policy",
		"type": "object", "properties": properties, "additionalProperties": false,
	}
}

func named(body schemaObject) schemaObject {
	return schemaObject{"type": "object", "additionalProperties": body}
}

func oneOrMany(body schemaObject, many bool) schemaObject {
	if !many {
		return body
	}
	return schemaObject{"anyOf": []any{body, schemaObject{"type": "array", "items": body}}}
}

func bodyJSON(b *Block) schemaObject {
	if b.Free {
		return schemaObject{"type": "object", "description": b.Doc}
	}
	properties := schemaObject{"//": schemaObject{}}
	var required []string
	for _, a := range b.Attributes {
		if a.Unavailable {
			continue
		}
		properties[a.Name] = attributeJSON(a)
		if a.Required {
			required = append(required, a.Name)
		}
	}
	if b.ForEach {
		properties["for_each"] = schemaObject{"description": "A map, or an expression: one instance for each element."}
	}
	for i := range b.Blocks {
		if s := &b.Blocks[i]; !s.Unavailable {
			properties[s.Type] = oneOrMany(bodyJSON(s), s.Repeatable)
			if s.Required {
				required = append(required, s.Type)
			}
		}
	}
	out := schemaObject{"type": "object", "description": b.Doc, "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func attributeJSON(a Attribute) schemaObject {
	expression := schemaObject{"type": "string", "pattern": `\$\{`}
	out := schemaObject{"description": a.Doc}
	switch {
	case a.Type == TypeBool:
		out["anyOf"] = []any{schemaObject{"type": "boolean"}, expression}
	case a.Type == TypeInt:
		number := schemaObject{"type": "integer", "minimum": a.Min}
		if a.Max > 0 {
			number["maximum"] = a.Max
		}
		out["anyOf"] = []any{number, expression}
	case a.Type == TypeStrings:
		out["anyOf"] = []any{schemaObject{"type": "array", "items": schemaObject{"type": "string"}}, expression}
	case a.Type == TypeJSON:
		out["anyOf"] = []any{schemaObject{"type": "object"}, schemaObject{"type": "string"}}
	case len(a.Enum) > 0:
		out["anyOf"] = []any{schemaObject{"enum": a.Enum}, expression}
	case a.Type == TypeReferences:
		out["anyOf"] = []any{schemaObject{"type": "array", "items": expression}, expression}
	case a.Type == TypeReference || a.Type == TypeCondition || a.Sensitive && !connects(a.Name):
		out["type"], out["pattern"] = "string", `\$\{`
	case a.Type != TypeAny:
		out["type"] = "string"
	}
	return out
}
