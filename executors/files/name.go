package files

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-io/holdfast/executors"
)

// Linux names are bytes; an entry's path is text. Names that are not UTF-8 are shown with \xNN for each stray byte, and the
// exact bytes travel beside them in these attributes.
const (
	attrPath   = "path_base64"
	attrTarget = "target_base64"
)

// escapeName shows a name as text. Names that are text already come back unchanged.
func escapeName(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, name[i])
		} else {
			b.WriteString(name[i : i+n])
		}
		i += n
	}
	return b.String()
}

// shownNames maps a directory's raw names that are not UTF-8 to text that no other name of the directory uses.
func shownNames(names []string) map[string]string {
	var odd map[string]string
	var used map[string]bool
	for _, n := range names {
		if utf8.ValidString(n) {
			continue
		}
		if odd == nil {
			odd, used = map[string]string{}, map[string]bool{}
			for _, m := range names {
				used[m] = true
			}
		}
		s := escapeName(n)
		for used[s] {
			s += "~"
		}
		used[s], odd[n] = true, s
	}
	return odd
}

// rawPath returns the bytes an entry's path stands for, after checkPath.
func rawPath(e executors.Entry) (string, error) {
	raw, err := decodeRaw(e, attrPath, e.Path)
	if err == nil {
		err = checkPath(raw)
	}
	if err == nil {
		err = checkPath(e.Path)
	}
	if err == nil && (raw == "." || e.Path == ".") && (raw != e.Path || e.Type != executors.TypeDir) {
		err = errors.New("the root can only be a directory")
	}
	if err != nil {
		return "", fmt.Errorf("entry %q: %w; the restore point is not one that holdfast wrote", e.Path, err)
	}
	return raw, nil
}

// rawTarget returns the bytes an entry's link target stands for.
func rawTarget(e executors.Entry) (string, error) {
	raw, err := decodeRaw(e, attrTarget, e.Target)
	if err == nil && (raw == "" || strings.ContainsRune(raw, 0)) {
		err = errors.New("the target of the link is empty or holds a zero byte")
	}
	if err == nil && e.Type == executors.TypeHardlink {
		err = checkPath(raw)
	}
	if err != nil {
		return "", fmt.Errorf("entry %q: %w", e.Path, err)
	}
	return raw, nil
}

func decodeRaw(e executors.Entry, attr, plain string) (string, error) {
	coded, ok := e.Attrs[attr]
	if !ok {
		return plain, nil
	}
	raw, err := base64.StdEncoding.DecodeString(coded)
	if err != nil {
		return "", fmt.Errorf("attribute %s: %w", attr, err)
	}
	return string(raw), nil
}

// setRaw keeps the exact bytes of a name beside its text, where they differ.
func setRaw(e *executors.Entry, attr, raw, shown string) {
	if raw == shown {
		return
	}
	if e.Attrs == nil {
		e.Attrs = map[string]string{}
	}
	e.Attrs[attr] = base64.StdEncoding.EncodeToString([]byte(raw))
}

// checkPath refuses every path that is not clean and below the root, whatever its bytes.
func checkPath(p string) error {
	// ValidPath wants UTF-8; what makes a path dangerous is ASCII, so stray bytes are made harmless first.
	if !fs.ValidPath(strings.ToValidUTF8(p, "?")) || strings.ContainsRune(p, 0) {
		return errors.New("the path leaves the root or is not clean")
	}
	return nil
}
