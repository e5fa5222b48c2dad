package repo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// The places of objects in the store. docs/format/repository.md has the table.
const (
	configName     = "repo.json"
	keysPrefix     = "keys/"
	packsPrefix    = "packs/"
	indexPrefix    = "index/"
	pointsPrefix   = "points/"
	hintsPrefix    = "hints/"
	resealPrefix   = "reseal/"
	summarySuffix  = ".summary"
	manifestSuffix = ".manifest"

	// maxSegment keeps an escaped address within the 255 bytes that file systems allow, with room for a suffix.
	maxSegment = 200
)

func packName(sum string) string  { return packsPrefix + sum[:2] + "/" + sum }
func indexName(sum string) string { return indexPrefix + sum }

// keyName has the repository's id in its hash, so that what an interrupted or concurrent Init left never collides.
func keyName(repository, holder string, encrypted bool) string {
	sum := sha256.Sum256([]byte(repository + " " + holder))
	if encrypted {
		return keysPrefix + hex.EncodeToString(sum[:8]) + ".age"
	}
	return keysPrefix + hex.EncodeToString(sum[:8]) + ".json"
}

func summaryName(address, id string) string {
	return pointsPrefix + escape(address) + "/" + escape(id) + summarySuffix
}

func manifestName(address, id string) string {
	return pointsPrefix + escape(address) + "/" + escape(id) + manifestSuffix
}

func hintsFolder(address string) string { return hintsPrefix + escape(address) + "/" }

func hintsName(address, id string, part int) string {
	return fmt.Sprintf("%s%s/%04d", hintsFolder(address), escape(id), part)
}

// checkPoint refuses addresses and ids that cannot be names of objects.
func checkPoint(address, id string) error {
	for _, s := range []string{address, id} {
		if s == "" {
			return fmt.Errorf("restore point %q of %q: address and id must not be empty", id, address)
		}
		if len(escape(s)) > maxSegment {
			return fmt.Errorf("restore point %q of %q: longer than %d bytes when escaped for an object's name", id, address, maxSegment)
		}
	}
	return nil
}

// escape makes any string one segment of an object's name: bytes outside [A-Za-z0-9._-], a dot at either end
// and an underscore after another become "=" and two upper-case hex digits.
func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-',
			c == '_' && (i == 0 || s[i-1] != '_'), c == '.' && i > 0 && i < len(s)-1:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// unescape is the reverse of escape; ok is false for what escape never writes.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '=' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		raw, err := hex.DecodeString(s[i+1 : i+3])
		if err != nil {
			return "", false
		}
		b.WriteByte(raw[0])
		i += 2
	}
	return b.String(), b.Len() > 0 && escape(b.String()) == s
}

// parsePointName splits "points/<address>/<id><suffix>"; ok is false for any other name.
func parsePointName(name string) (address, id, suffix string, ok bool) {
	rest, ok := strings.CutPrefix(name, pointsPrefix)
	if !ok {
		return "", "", "", false
	}
	folder, file, ok := strings.Cut(rest, "/")
	if !ok {
		return "", "", "", false
	}
	for _, suffix := range []string{summarySuffix, manifestSuffix} {
		base, found := strings.CutSuffix(file, suffix)
		if !found {
			continue
		}
		address, ok1 := unescape(folder)
		id, ok2 := unescape(base)
		return address, id, suffix, ok1 && ok2
	}
	return "", "", "", false
}

// isHash tells whether s is a SHA-256 in lower-case hex.
func isHash(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
