package replication

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"
)

// uploadPiece is the size of one message, in bytes.
const uploadPiece = 64 << 10

// ErrPrerequisite says that the server cannot make this incremental backup; a full one can be made. Its cause tells why, such
// as WAL summaries that are missing.
var ErrPrerequisite = errors.New("the server lacks what an incremental backup needs; make a full one")

// UploadManifest gives the server the manifest of an earlier backup. The next BaseBackup on this connection can then be
// incremental. It needs PostgreSQL 17 and the setting summarize_wal.
func (c *Conn) UploadManifest(ctx context.Context, manifest io.Reader) error {
	if c.major < versionIncremental {
		return fmt.Errorf("upload a manifest: incremental backups need PostgreSQL %d, the server is %d: %w", versionIncremental, c.major, ErrUnsupported)
	}
	s, err := c.open(ctx, "manifest upload", "UPLOAD_MANIFEST")
	if err != nil {
		return fmt.Errorf("upload a manifest: %w", err)
	}
	if err := s.upload(manifest); err != nil {
		s.abort()
		return fmt.Errorf("upload a manifest: %w", err)
	}
	s.release()
	return nil
}

func (s *session) upload(manifest io.Reader) error {
	if _, err := expect[*pgproto3.CopyInResponse](s); err != nil {
		return err
	}
	buf := make([]byte, uploadPiece)
	for {
		n, err := manifest.Read(buf)
		if n > 0 {
			if err := s.send(&pgproto3.CopyData{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read it: %w", err)
		}
		if err := s.ctx.Err(); err != nil {
			return context.Cause(s.ctx)
		}
	}
	if err := s.send(&pgproto3.CopyDone{}); err != nil {
		return err
	}
	if _, err := expect[*pgproto3.CommandComplete](s); err != nil {
		return err
	}
	_, err := expect[*pgproto3.ReadyForQuery](s)
	return err
}
