package pgdata

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// LabelName is the name of the backup label in a data directory. Recovery begins where it says instead of where the control
// file says, so a base backup without it is damaged without a sign.
const LabelName = "backup_label"

// Label is a backup label.
type Label struct {
	Start       wal.LSN // where recovery begins: the REDO location of Checkpoint
	Segment     string  // name of the WAL segment that holds Start
	Checkpoint  wal.LSN
	Method      string // "streamed"
	From        string // "primary" or "standby"
	StartTime   string // in the server's log_timezone, for people
	Name        string // the label somebody gave
	Timeline    wal.Timeline
	Incremental *Incremental // nil for a full backup
}

// Incremental says which backup an incremental backup (PostgreSQL 17 and later) builds on.
type Incremental struct {
	LSN      wal.LSN
	Timeline wal.Timeline
}

// Keys of the label's lines (src/backend/access/transam/xlogbackup.c, and read_backup_label in xlogrecovery.c).
const (
	keyStart       = "START WAL LOCATION"
	keyCheckpoint  = "CHECKPOINT LOCATION"
	keyMethod      = "BACKUP METHOD"
	keyFrom        = "BACKUP FROM"
	keyStartTime   = "START TIME"
	keyLabel       = "LABEL"
	keyTimeline    = "START TIMELINE"
	keyIncLSN      = "INCREMENTAL FROM LSN"
	keyIncTimeline = "INCREMENTAL FROM TLI"
)

var startPattern = regexp.MustCompile(`^([0-9A-F]+/[0-9A-F]+) \(file ([0-9A-F]{24})\)$`)

// ParseLabel reads a backup label. Lines with other keys are passed over.
func ParseLabel(content []byte) (Label, error) {
	lines, err := labelLines(string(content))
	if err != nil {
		return Label{}, err
	}
	l := Label{Method: lines[keyMethod], From: lines[keyFrom], StartTime: lines[keyStartTime], Name: lines[keyLabel]}
	start := startPattern.FindStringSubmatch(lines[keyStart])
	if start == nil {
		return Label{}, fmt.Errorf("backup label: %s %.80q is no LSN with its WAL file", keyStart, lines[keyStart])
	}
	l.Segment = start[2]
	var errs [4]error
	l.Start, errs[0] = wal.ParseLSN(start[1])
	l.Checkpoint, errs[1] = wal.ParseLSN(lines[keyCheckpoint])
	l.Timeline, errs[2] = parseTimeline(lines[keyTimeline])
	l.Incremental, errs[3] = parseIncremental(lines)
	if err := errors.Join(errs[:]...); err != nil {
		return Label{}, fmt.Errorf("backup label: %w", err)
	}
	if named := wal.ParseName(l.Segment).Timeline; named != l.Timeline {
		return Label{}, fmt.Errorf("backup label: WAL file %s is not of %s %d", l.Segment, keyTimeline, l.Timeline)
	}
	return l, nil
}

func labelLines(text string) (map[string]string, error) {
	lines := map[string]string{}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ": ")
		if _, twice := lines[key]; !ok || twice {
			return nil, fmt.Errorf("backup label: line %.80q is none of a label, or stands there twice", line)
		}
		lines[key] = value
	}
	return lines, nil
}

func parseTimeline(text string) (wal.Timeline, error) {
	v, err := strconv.ParseUint(text, 10, 32)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("%.20q is no timeline", text)
	}
	return wal.Timeline(v), nil
}

func parseIncremental(lines map[string]string) (*Incremental, error) {
	from, ok1 := lines[keyIncLSN]
	timeline, ok2 := lines[keyIncTimeline]
	if !ok1 && !ok2 {
		return nil, nil
	}
	at, err1 := wal.ParseLSN(from)
	t, err2 := parseTimeline(timeline)
	return &Incremental{LSN: at, Timeline: t}, errors.Join(err1, err2)
}

// Content writes the label as PostgreSQL does.
func (l Label) Content() []byte {
	var b strings.Builder
	line := func(key, value string) { fmt.Fprintf(&b, "%s: %s\n", key, value) }
	line(keyStart, fmt.Sprintf("%s (file %s)", l.Start, l.Segment))
	line(keyCheckpoint, l.Checkpoint.String())
	line(keyMethod, l.Method)
	line(keyFrom, l.From)
	line(keyStartTime, l.StartTime)
	line(keyLabel, l.Name)
	line(keyTimeline, strconv.FormatUint(uint64(l.Timeline), 10))
	if i := l.Incremental; i != nil {
		line(keyIncLSN, i.LSN.String())
		line(keyIncTimeline, strconv.FormatUint(uint64(i.Timeline), 10))
	}
	return []byte(b.String())
}
