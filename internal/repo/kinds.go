package repo

import "strings"

// kind says what an object of the store is, by its name alone.
type kind int

const (
	kindUnknown kind = iota
	kindConfig
	kindKey
	kindPack
	kindIndex
	kindSummary
	kindManifest
	kindHint
	kindCondemned
	kindLease
	kindQuarantine
	kindReseal
	kindWAL
	kindWALClaim
)

// kindOf judges by the whole name: what only looks like one of ours is unknown.
func kindOf(name string) kind {
	if name == configName {
		return kindConfig
	}
	folder, rest, _ := strings.Cut(name, "/")
	switch folder + "/" {
	case keysPrefix:
		base, _, _ := strings.Cut(rest, ".")
		return when(isHex(base, 16) && (rest == base+".age" || rest == base+".json"), kindKey)
	case packsPrefix:
		_, ok := parsePackName(name)
		return when(ok, kindPack)
	case indexPrefix:
		return when(isHash(rest), kindIndex)
	case pointsPrefix:
		_, _, suffix, ok := parsePointName(name)
		if suffix == summarySuffix {
			return when(ok, kindSummary)
		}
		return when(ok, kindManifest)
	case hintsPrefix:
		_, _, ok := parseHintName(name)
		return when(ok, kindHint)
	case condemnedPrefix:
		return when(isHash(rest), kindCondemned)
	case quarantinePrefix:
		return when(isHash(rest), kindQuarantine)
	case resealPrefix:
		return when(isHash(rest), kindReseal)
	case walPrefix:
		_, sum, ok := parseWALName(name)
		if sum == "" {
			return when(ok, kindWALClaim)
		}
		return when(ok, kindWAL)
	case leasesPrefix:
		writer, isWriter := strings.CutPrefix(name, writerPrefix)
		number, isPruner := strings.CutPrefix(name, prunerPrefix)
		return when(isWriter && isHex(writer, 16) || isPruner && isDigits(number, 16), kindLease)
	default:
		return kindUnknown
	}
}

func when(ok bool, k kind) kind {
	if ok {
		return k
	}
	return kindUnknown
}

// parseHintName splits "hints/<address>/<id>/<4 digits>"; ok is false for any other name.
func parseHintName(name string) (address, id string, ok bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0]+"/" != hintsPrefix || !isDigits(parts[3], 4) {
		return "", "", false
	}
	address, ok1 := unescape(parts[1])
	id, ok2 := unescape(parts[2])
	return address, id, ok1 && ok2
}

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

func isDigits(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789") == ""
}
