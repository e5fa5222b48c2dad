package replication

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	tarBlock = 512
	// tarEnd are the two zero blocks that end an archive; before 15 the server leaves them out.
	tarEnd = 2 * tarBlock
)

// Member is one file, folder or link of a base backup.
type Member struct {
	Path       string // inside the data folder, such as base/1/1259 or pg_tblspc/16385/PG_15_202209061/5/16386
	Tablespace uint32 // OID; 0 is the data folder
	Header     *tar.Header
}

// Walk calls visit for each member of all archives, in the server's order. The reader gives a file's bytes and is valid until visit
// returns; it need not be read to its end. Walk is strict: a member that PostgreSQL does not write is an error. Manifest and
// Finish come after it.
func (b *Backup) Walk(visit func(Member, io.Reader) error) error {
	for {
		a, err := b.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := walkArchive(a, a.Tablespace.OID, b.major >= versionTypedCopy, visit); err != nil {
			return fmt.Errorf("read %s of the base backup: %w", a.Name, err)
		}
	}
}

// counter counts what the tar reader has taken: a header that takes more than one block is an extension that PostgreSQL does
// not use, such as long names, sparse files and global settings.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// walkArchive walks one archive that ends with two zero blocks if terminated, else with its last member.
func walkArchive(r io.Reader, tablespace uint32, terminated bool, visit func(Member, io.Reader) error) error {
	in := &counter{r: r}
	archive := tar.NewReader(in)
	end := int64(0) // of the member before
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return checkEnd(in, end, terminated)
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w", in.n, err)
		}
		if in.n != end+tarBlock {
			return fmt.Errorf("%.100q at byte %d has an extended header, which PostgreSQL does not write", h.Name, end)
		}
		m, err := checkMember(h, tablespace)
		if err != nil {
			return err
		}
		if end, err = memberEnd(in.n, h); err != nil {
			return err
		}
		if err := visit(m, archive); err != nil {
			return err
		}
	}
}

func memberEnd(start int64, h *tar.Header) (int64, error) {
	const most = 1 << 62
	if h.Size < 0 || h.Size > most-start-tarBlock {
		return 0, fmt.Errorf("%.100q has the impossible size %d", h.Name, h.Size)
	}
	return start + (h.Size+tarBlock-1)/tarBlock*tarBlock, nil
}

func checkEnd(in *counter, end int64, terminated bool) error {
	found := in.n - end
	rest, err := io.Copy(io.Discard, in)
	if err != nil {
		return err
	}
	switch {
	case rest != 0:
		return fmt.Errorf("%d bytes follow the archive's end", rest)
	case found < 0:
		return io.ErrUnexpectedEOF
	case found == tarEnd, found == 0 && !terminated:
		return nil
	}
	return fmt.Errorf("the archive ends without its two zero blocks: %w", io.ErrUnexpectedEOF)
}

// checkMember accepts files and folders, and links where tablespaces are linked.
func checkMember(h *tar.Header, tablespace uint32) (Member, error) {
	// PostgreSQL itself writes ./pg_wal/archive_status.
	m := Member{Path: strings.TrimPrefix(strings.TrimSuffix(h.Name, "/"), "./"), Tablespace: tablespace, Header: h}
	if !filepath.IsLocal(m.Path) || m.Path == "." || path.Clean(m.Path) != m.Path || strings.ContainsAny(m.Path, "\x00\\") {
		return Member{}, fmt.Errorf("the path %.100q does not stay inside the data folder", h.Name)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if strings.HasSuffix(h.Name, "/") {
			return Member{}, fmt.Errorf("the file %.100q is named like a folder", h.Name)
		}
	case tar.TypeDir, tar.TypeSymlink:
		if h.Size != 0 {
			return Member{}, fmt.Errorf("%.100q is no file and yet has %d bytes", h.Name, h.Size)
		}
	default:
		return Member{}, fmt.Errorf("%.100q is of the type %q; PostgreSQL sends files, folders and links", h.Name, h.Typeflag)
	}
	if h.Typeflag == tar.TypeSymlink && (tablespace != 0 || !isTablespaceLink(m.Path) || !path.IsAbs(h.Linkname)) {
		return Member{}, fmt.Errorf("the link %.100q to %.100q is not one of a tablespace", h.Name, h.Linkname)
	}
	if tablespace != 0 {
		m.Path = "pg_tblspc/" + strconv.FormatUint(uint64(tablespace), 10) + "/" + m.Path
	}
	return m, nil
}

func isTablespaceLink(name string) bool {
	oid, ok := strings.CutPrefix(name, "pg_tblspc/")
	_, err := strconv.ParseUint(oid, 10, 32)
	return ok && err == nil
}
