package replication

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// ErrNoSlot says that the server has no physical slot of the name.
var ErrNoSlot = errors.New("there is no such replication slot")

// ErrSlotExists says that the name is taken.
var ErrSlotExists = errors.New("a replication slot of this name exists")

// ErrUnsupported says that the server's version does not know the command.
var ErrUnsupported = errors.New("the server's version does not know it")

// Slot is a physical replication slot.
type Slot struct {
	Restart  wal.LSN // the oldest WAL it keeps; 0 while it keeps none
	Timeline uint32  // of Restart; 0 while it keeps none
}

// slotName is what PostgreSQL allows (src/backend/replication/slot.c, ReplicationSlotValidateName).
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

func checkSlot(name string) error {
	if !slotName.MatchString(name) {
		return fmt.Errorf("%.80q is no name of a replication slot; use at most 63 lower case letters, digits and underscores", name)
	}
	return nil
}

// ReadSlot asks for a slot. Servers before 15 answer it with ErrUnsupported; they have pg_replication_slots alone.
func (c *Conn) ReadSlot(ctx context.Context, name string) (Slot, error) {
	if err := checkSlot(name); err != nil {
		return Slot{}, err
	}
	if c.major < versionTypedCopy {
		return Slot{}, fmt.Errorf("read slot %s: %w: PostgreSQL %d; ask pg_replication_slots", name, ErrUnsupported, c.major)
	}
	row, err := c.row(ctx, `READ_REPLICATION_SLOT "`+name+`"`, 3)
	if err != nil {
		return Slot{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	if row[0] == nil {
		return Slot{}, fmt.Errorf("read slot %s: %w", name, ErrNoSlot)
	}
	if row[1] == nil {
		return Slot{}, nil
	}
	var s Slot
	if s.Restart, s.Timeline, err = position(row[1:]); err != nil {
		return Slot{}, fmt.Errorf("read slot %s: %w", name, err)
	}
	return s, nil
}

// CreateSlot makes a physical slot. With reserve the server keeps WAL for it from now on, else from the first stream on. A
// temporary slot ends with the connection, and with the first command on it that fails.
func (c *Conn) CreateSlot(ctx context.Context, name string, temporary, reserve bool) error {
	if err := checkSlot(name); err != nil {
		return err
	}
	command := `CREATE_REPLICATION_SLOT "` + name + `"`
	if temporary {
		command += " TEMPORARY"
	}
	command += " PHYSICAL"
	if reserve {
		command += " RESERVE_WAL"
	}
	_, err := c.exec(ctx, command)
	if hasCode(err, codeExists) {
		err = fmt.Errorf("%w: %w", ErrSlotExists, err)
	}
	if err != nil {
		return fmt.Errorf("create slot %s: %w", name, err)
	}
	return nil
}

// DropSlot removes a slot, and with it the server's promise to keep WAL. A slot in use is an error.
func (c *Conn) DropSlot(ctx context.Context, name string) error {
	if err := checkSlot(name); err != nil {
		return err
	}
	_, err := c.exec(ctx, `DROP_REPLICATION_SLOT "`+name+`"`)
	if hasCode(err, codeUndefined) {
		err = fmt.Errorf("%w: %w", ErrNoSlot, err)
	}
	if err != nil {
		return fmt.Errorf("drop slot %s: %w", name, err)
	}
	return nil
}
