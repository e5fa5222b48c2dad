package planner

import (
	"bytes"
	"encoding/json"

	"github.com/holdfast-io/holdfast/planner/plan"
)

// diffAttributes compares two objects attribute by attribute, ordered by path. Lists and secrets are single values.
func diffAttributes(before, after json.RawMessage) []plan.Attribute {
	old, new := map[string]string{}, map[string]string{}
	flatten(old, "", before)
	flatten(new, "", after)
	paths := map[string]bool{}
	for path := range old {
		paths[path] = true
	}
	for path := range new {
		paths[path] = true
	}
	var diff []plan.Attribute
	for _, path := range sortedKeys(paths) {
		if old[path] != new[path] {
			diff = append(diff, plan.Attribute{Path: path, Before: old[path], After: new[path]})
		}
	}
	return diff
}

// flatten files the leaves of a JSON value under their dotted paths.
func flatten(into map[string]string, path string, value json.RawMessage) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) == nil && fields != nil && !secret(fields) {
		for name, field := range fields {
			if path != "" {
				name = path + "." + name
			}
			flatten(into, name, field)
		}
		return
	}
	var text bytes.Buffer
	if json.Compact(&text, value) == nil {
		into[path] = text.String()
	}
}

// secret recognises how policy.Secret is encoded.
func secret(fields map[string]json.RawMessage) bool {
	_, ok := fields["sensitive"]
	return ok && len(fields) == 1
}
