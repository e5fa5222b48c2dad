package blob

import (
	"fmt"
	"strings"
)

// Limits of object names, in bytes. Both come from the narrowest place we store to: S3 allows keys of 1,024 bytes, of
// which 124 are left to the prefix of a store URL; file systems allow 255 for one path element.
const (
	MaxName    = 900
	MaxSegment = 255
)

// CheckName tells whether name may name an object; the error says what is wrong with it. The rule is narrow on purpose:
// what it allows means the same thing in a URL, on a shell's command line and on every file system, and can never climb
// out of a folder. Two oddities are refused because services or their clients rewrite them: segments that end in a dot
// (Azure drops it, gocloud escapes "../" within a name), and "__0x", which begins gocloud's escapes.
func CheckName(name string) error {
	if name == "" {
		return fmt.Errorf("object name is empty")
	}
	if len(name) > MaxName {
		return fmt.Errorf("object name %.40q… is %d bytes long; at most %d are allowed", name, len(name), MaxName)
	}
	if strings.Contains(name, "__0x") {
		return fmt.Errorf("object name %q: %q is not allowed", name, "__0x")
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			if !allowed(name[i]) {
				return fmt.Errorf("object name %q: character %q at byte %d is not allowed", name, name[i], i)
			}
			continue
		}
		if err := checkSegment(name[start:i]); err != nil {
			return fmt.Errorf("object name %q: %w", name, err)
		}
		start = i + 1
	}
	return nil
}

// CanBegin tells whether a name that CheckName allows can begin with prefix as far as its characters go. Services answer a
// listing of other prefixes each in its own way, from nothing to an internal error.
func CanBegin(prefix string) bool {
	for i := range len(prefix) {
		if prefix[i] != '/' && !allowed(prefix[i]) {
			return false
		}
	}
	return true
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("it has an empty segment")
	case s[len(s)-1] == '.':
		return fmt.Errorf("segment %q ends in a dot", s)
	case len(s) > MaxSegment:
		return fmt.Errorf("a segment is %d bytes long; at most %d are allowed", len(s), MaxSegment)
	}
	return nil
}

func allowed(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	case c == '.', c == '_', c == '=', c == '@', c == '+', c == '-':
		return true
	}
	return false
}
