package replication

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// System is what a server says about itself.
type System struct {
	ID       uint64  // made by initdb; the same on all servers of one replication group
	Timeline uint32  // the current one
	Flush    wal.LSN // the end of what is durable there; on a standby of what it received or replayed
}

// IdentifySystem asks which server this is, and where it stands.
func (c *Conn) IdentifySystem(ctx context.Context) (System, error) {
	row, err := c.row(ctx, "IDENTIFY_SYSTEM", 3)
	if err != nil {
		return System{}, fmt.Errorf("identify the system: %w", err)
	}
	var s System
	if s.ID, err = strconv.ParseUint(string(row[0]), 10, 64); err != nil {
		return System{}, fmt.Errorf("identify the system: %.40q is no system identifier", row[0])
	}
	if s.Timeline, err = parseTimeline(row[1]); err == nil {
		s.Flush, err = wal.ParseLSN(string(row[2]))
	}
	if err != nil {
		return System{}, fmt.Errorf("identify the system: %w", err)
	}
	return s, nil
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$`)

// Show returns a setting of the server as it prints it, such as "16MB" for wal_segment_size.
func (c *Conn) Show(ctx context.Context, name string) (string, error) {
	if !settingName.MatchString(name) {
		return "", fmt.Errorf("show a setting: %.80q is no name of one", name)
	}
	row, err := c.row(ctx, "SHOW "+name, 1)
	if err != nil {
		return "", fmt.Errorf("show %s: %w", name, err)
	}
	return string(row[0]), nil
}

// TimelineHistory returns a timeline's history file: its name and its bytes as they are. The first timeline has none.
func (c *Conn) TimelineHistory(ctx context.Context, timeline uint32) (name string, content []byte, err error) {
	row, err := c.row(ctx, fmt.Sprintf("TIMELINE_HISTORY %d", timeline), 2)
	if err != nil {
		return "", nil, fmt.Errorf("read the history of timeline %d: %w", timeline, err)
	}
	return string(row[0]), row[1], nil
}

// row runs a command that answers with one row of at least so many columns. NULL is nil.
func (c *Conn) row(ctx context.Context, command string, columns int) ([][]byte, error) {
	rows, err := c.exec(ctx, command)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) < columns {
		return nil, fmt.Errorf("the server answered with %d rows, want one of %d columns", len(rows), columns)
	}
	return rows[0], nil
}

// exec runs a command and returns the rows of its only result.
func (c *Conn) exec(ctx context.Context, command string) ([][][]byte, error) {
	if err := c.begin("run a command"); err != nil {
		return nil, err
	}
	results, err := c.pg.Exec(ctx, command).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("the server answered with %d results, want one", len(results))
	}
	return results[0].Rows, nil
}

func parseTimeline(text []byte) (uint32, error) {
	n, err := strconv.ParseUint(string(text), 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%.40q is no timeline", text)
	}
	return uint32(n), nil
}

// position reads the two columns in which the server tells a position: LSN and timeline.
func position(row [][]byte) (wal.LSN, uint32, error) {
	if len(row) < 2 {
		return 0, 0, fmt.Errorf("the server told a position in %d columns, want 2", len(row))
	}
	timeline, err := parseTimeline(row[1])
	if err != nil {
		return 0, 0, err
	}
	lsn, err := wal.ParseLSN(string(row[0]))
	return lsn, timeline, err
}

// SegmentSize asks for the size of WAL segments in bytes. The server tells it as "16MB".
func (c *Conn) SegmentSize(ctx context.Context) (int64, error) {
	text, err := c.Show(ctx, "wal_segment_size")
	if err != nil {
		return 0, err
	}
	var n int64
	var unit string
	if _, err := fmt.Sscanf(text, "%d%s", &n, &unit); err != nil {
		return 0, fmt.Errorf("the server's wal_segment_size is %.40q", text)
	}
	factor := map[string]int64{"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[strings.TrimSpace(unit)]
	if n *= factor; n < 1<<20 || n > 1<<30 || n&(n-1) != 0 {
		return 0, fmt.Errorf("the server's wal_segment_size is %.40q", text)
	}
	return n, nil
}
