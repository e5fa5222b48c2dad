package qdrant

import (
	"fmt"
	"strconv"
	"strings"
)

// version is a server's version.
type version struct {
	major, minor, patch int
	text                string
}

// parseVersion reads "1.18.3" and "1.19.0-dev".
func parseVersion(text string) (version, error) {
	v := version{text: text}
	numbers, _, _ := strings.Cut(text, "-")
	parts := strings.Split(numbers, ".")
	if len(parts) == 3 {
		ok := true
		for i, p := range []*int{&v.major, &v.minor, &v.patch} {
			n, err := strconv.Atoi(parts[i])
			*p, ok = n, ok && err == nil
		}
		if ok {
			return v, nil
		}
	}
	return version{}, fmt.Errorf("the server's version %.40q cannot be read; is this a Qdrant server?", text)
}

func (v version) less(o version) bool {
	return v.major < o.major || v.major == o.major && (v.minor < o.minor || v.minor == o.minor && v.patch < o.patch)
}

// Versions that matter. Sources: Qdrant's release notes and pull requests by number.
var (
	// oldest has sparse-aware archives (#5198 and before); what is older is not read at all.
	oldest = version{major: 1, minor: 12}
	// sound has the fixes of snapshots taken while points are written (#7298, #7342, #7404).
	sound = version{major: 1, minor: 16}
	// streams end freezes of shards that are streamed (#8007, #8072, #8131).
	streams = version{major: 1, minor: 17}
	// patient is the first that gives a hung reader of a stream up (#9239).
	patient = version{major: 1, minor: 18, patch: 2}
	// fetches is the first that unpacks an archive while it fetches it from a URL, and checks its sum before the shard is
	// touched.
	fetches = version{major: 1, minor: 17}
)

// fits tells whether a server can load the snapshots of another version: the same minor version or the next (the
// maintainers' rule; nothing in an archive says who made it). Points that were exported fit everywhere.
func (v version) fits(made version) error {
	next := v.major == made.major && (v.minor == made.minor || v.minor == made.minor+1)
	switch {
	case next:
		return nil
	case v.less(made):
		return fmt.Errorf("the snapshots were made by Qdrant %s and this server is %s: an older server must not load them. Upgrade it to %d.%d first, or restore from a backup made by export", made.text, v.text, made.major, made.minor)
	default:
		return fmt.Errorf("the snapshots were made by Qdrant %s and this server is %s: snapshots go one minor version up at most. Restore to a server of version %d.%d or %d.%d and upgrade that, restore from a backup made by export, or try it with -any-version: what comes back is compared with what was recorded",
			made.text, v.text, made.major, made.minor, made.major, made.minor+1)
	}
}
