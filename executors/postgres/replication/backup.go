package replication

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// Tablespace is one folder of data.
type Tablespace struct {
	OID      uint32 // 0 is the data folder itself
	Location string // on the server; empty for the data folder
	KiB      int64  // an estimate, with BackupOptions.Progress; else 0
}

// Backup is a base backup that is being made. Read it in this order: Next until io.EOF, with each archive; Manifest; Finish.
// What is not read is skipped. Only a Finish without an error makes it a backup. It is for one goroutine at a time.
type Backup struct {
	Start       wal.LSN      // recovery begins here
	Timeline    uint32       // of Start
	Tablespaces []Tablespace // in the order of their archives since 13; the data folder is the last

	s        *session
	opts     BackupOptions
	major    int
	archive  *Archive // the open one
	archives int      // begun so far
	passed   bool     // Next has returned io.EOF
	manifest bool     // begun
	held     *event   // read ahead: what ended an archive
	pending  []byte   // read from the server, not yet by the caller
	over     bool     // Finish has seen the end
	err      error    // the first one stays
}

// Position is a place in the WAL.
type Position struct {
	LSN      wal.LSN
	Timeline uint32
}

// ChecksumError says that a base backup arrived whole, but pages of it were damaged on the server already. The notices named
// their files and blocks. The backup can be used; End is where its WAL ends.
type ChecksumError struct {
	End   Position
	Cause *pgconn.PgError
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("the base backup is whole, but pages on the server are damaged: %s; its warnings name them", e.Cause.Message)
}

func (e *ChecksumError) Unwrap() error { return e.Cause }

// BaseBackup begins a base backup. It returns when the server has made its checkpoint. The end of ctx ends the backup.
func (c *Conn) BaseBackup(ctx context.Context, opts BackupOptions) (*Backup, error) {
	if err := opts.check(c.major); err != nil {
		return nil, fmt.Errorf("begin a base backup: %w", err)
	}
	s, err := c.open(ctx, "base backup", opts.command(c.major))
	if err != nil {
		return nil, fmt.Errorf("begin a base backup: %w", err)
	}
	b := &Backup{s: s, opts: opts, major: c.major}
	s.notice = func(n *pgconn.Notice) {
		s.limit = 0 // it may tell that the server waits
		if opts.OnNotice != nil {
			opts.OnNotice(n)
		}
	}
	if err := b.begin(); err != nil {
		s.abort()
		return nil, fmt.Errorf("begin a base backup: %w", opts.lacking(err))
	}
	return b, nil
}

// lacking tells errors of incremental backups that a full one would not meet.
func (o BackupOptions) lacking(err error) error {
	if o.Incremental && hasCode(err, codePrerequisite) {
		return fmt.Errorf("%w: %w", ErrPrerequisite, err)
	}
	return err
}

// begin reads what comes before the archives.
func (b *Backup) begin() error {
	rows, err := b.s.rows()
	if err != nil {
		return err
	}
	if len(rows) != 1 {
		return fmt.Errorf("the server told %d start positions, want one", len(rows))
	}
	if b.Start, b.Timeline, err = position(rows[0]); err != nil {
		return err
	}
	if rows, err = b.s.rows(); err != nil {
		return err
	}
	for _, row := range rows {
		t, err := parseTablespace(row)
		if err != nil {
			return err
		}
		b.Tablespaces = append(b.Tablespaces, t)
	}
	if n := len(b.Tablespaces); n == 0 || b.Tablespaces[n-1].OID != 0 {
		return errors.New("the server's list of tablespaces does not end with the data folder")
	}
	if b.major >= versionTypedCopy {
		_, err = expect[*pgproto3.CopyOutResponse](b.s)
	}
	return err
}

func parseTablespace(row [][]byte) (Tablespace, error) {
	var t Tablespace
	if len(row) < 3 {
		return t, fmt.Errorf("the server told a tablespace in %d columns, want 3", len(row))
	}
	if row[0] != nil {
		oid, err := strconv.ParseUint(string(row[0]), 10, 32)
		if err != nil || oid == 0 || len(row[1]) == 0 {
			return t, fmt.Errorf("tablespace %.40q at %.80q is none", row[0], row[1])
		}
		t.OID, t.Location = uint32(oid), string(row[1])
	}
	if row[2] != nil {
		var err error
		if t.KiB, err = strconv.ParseInt(string(row[2]), 10, 64); err != nil || t.KiB < 0 {
			return t, fmt.Errorf("the size %.40q of a tablespace is none", row[2])
		}
	}
	return t, nil
}

// Finish reads what is left and waits for the server's last word. After an error that is no ChecksumError there is no backup. After
// success the connection is free again.
func (b *Backup) Finish() (Position, error) {
	end, err := b.finish()
	var damaged *ChecksumError
	switch {
	case errors.As(err, &damaged):
		_ = b.Close()
	case err != nil:
		_ = b.Close()
		return Position{}, fmt.Errorf("finish the base backup: %w", err)
	}
	return end, err
}

func (b *Backup) finish() (Position, error) {
	for {
		e, err := b.next()
		if err != nil {
			return Position{}, err
		}
		if e.kind == eventEnd {
			break
		}
	}
	if b.archives != len(b.Tablespaces) || b.manifest != b.opts.Manifest {
		return Position{}, fmt.Errorf("the server sent %d archives of %d, and manifest %t of %t", b.archives, len(b.Tablespaces), b.manifest, b.opts.Manifest)
	}
	rows, err := b.s.restOfRows()
	if err != nil {
		return Position{}, err
	}
	if len(rows) != 1 {
		return Position{}, fmt.Errorf("the server told %d end positions, want one", len(rows))
	}
	var end Position
	if end.LSN, end.Timeline, err = position(rows[0]); err != nil {
		return Position{}, err
	}
	return end, b.lastWord(end)
}

func (b *Backup) lastWord(end Position) error {
	_, err := expect[*pgproto3.CommandComplete](b.s)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == codeCorrupted {
		b.err = &ChecksumError{End: end, Cause: pgErr}
		return b.err
	}
	if err == nil {
		_, err = expect[*pgproto3.ReadyForQuery](b.s)
	}
	if err == nil {
		b.s.release()
		b.over, b.err = true, errors.New("the backup is finished")
	}
	return err
}

// Close ends a backup that is not finished, on the server too and at once, and with it the connection. It does nothing after
// a successful Finish.
func (b *Backup) Close() error {
	if b.over {
		return nil
	}
	b.over = true
	if b.err == nil {
		b.err = errors.New("the backup was closed")
	}
	b.s.abort()
	return nil
}
