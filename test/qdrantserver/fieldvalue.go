package qdrantserver

import (
	"strconv"
	"strings"
)

// fieldValues are the values behind a path such as a.b[].c or a[0]."with.dot".
func fieldValues(tree map[string]any, path string) []any {
	values := []any{tree}
	for _, step := range splitPath(path) {
		var next []any
		for _, v := range values {
			switch {
			case step == "[]":
				if list, ok := v.([]any); ok {
					next = append(next, list...)
				}
			case strings.HasPrefix(step, "["):
				list, _ := v.([]any)
				if i, err := strconv.Atoi(strings.Trim(step, "[]")); err == nil && i >= 0 && i < len(list) {
					next = append(next, list[i])
				}
			default:
				if o, ok := v.(map[string]any); ok {
					if child, has := o[step]; has {
						next = append(next, child)
					}
				}
			}
		}
		values = next
	}
	return values
}

func splitPath(path string) []string {
	var steps []string
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
		case '[':
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return append(steps, path)
			}
			steps, path = append(steps, path[:end+1]), path[end+1:]
		case '"':
			end := strings.IndexByte(path[1:], '"')
			if end < 0 {
				return append(steps, path)
			}
			steps, path = append(steps, path[1:end+1]), path[end+2:]
		default:
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			steps, path = append(steps, path[:end]), path[end:]
		}
	}
	return steps
}

// flattened looks into lists, as every condition on a field does.
func flattened(values []any) []any {
	var out []any
	for _, v := range values {
		if list, ok := v.([]any); ok {
			out = append(out, list...)
		} else {
			out = append(out, v)
		}
	}
	return out
}
