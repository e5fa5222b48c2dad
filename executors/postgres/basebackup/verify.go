package basebackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/manifest"
	"github.com/holdfast-io/holdfast/executors/postgres/pgdata"
	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// Verified is what a base backup was found to be.
type Verified struct {
	Document *Document
	Items    int64
	Bytes    int64
	Pages    int64 // whose checksum was computed
}

// Verify reads a whole base backup: every file against the server's manifest, every page's checksum where the cluster has
// them, and the WAL that it carries, record by record, to where the data is consistent. Pages that the server itself
// reported as damaged are as they were, and no error.
func Verify(ctx context.Context, from executors.Supply) (Verified, error) {
	doc, err := ReadDocument(ctx, from)
	if err != nil {
		return Verified{}, err
	}
	v := &verifier{ctx: ctx, from: from, out: Verified{Document: doc}, want: map[string]manifest.File{}}
	for _, step := range []func() error{v.manifest, v.control, v.data, v.wal} {
		if err := step(); err != nil {
			return Verified{}, err
		}
	}
	return v.out, nil
}

type verifier struct {
	ctx       context.Context
	from      executors.Supply
	out       Verified
	want      map[string]manifest.File // by path, those that were not read yet
	checksums bool
	bound     wal.LSN
	segments  []string // names in data/pg_wal
	bad       []string // damaged pages
}

// manifest reads what the server says that there is.
func (v *verifier) manifest() error {
	err := readOne(v.ctx, v.from, manifestPath, func(r io.Reader) error {
		m, err := manifest.Read(r, func(f manifest.File) error {
			v.want[f.Path] = f
			return nil
		})
		if err != nil {
			return err
		}
		if m.SystemID != 0 && fmt.Sprint(m.SystemID) != v.out.Document.System {
			return fmt.Errorf("it is of system %d, the backup of %s", m.SystemID, v.out.Document.System)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("verify %s: %w", manifestPath, err)
	}
	return nil
}

// control tells whether pages have checksums.
func (v *verifier) control() error {
	var err error
	if v.bound, _, err = v.out.Document.Positions(); err != nil {
		return err
	}
	return readOne(v.ctx, v.from, dataDir+"/"+controlFile, func(r io.Reader) error {
		text, err := io.ReadAll(io.LimitReader(r, 64<<10))
		if err != nil {
			return err
		}
		c, err := pgdata.ParseControl(text)
		if err != nil {
			return fmt.Errorf("verify %s: %w", controlFile, err)
		}
		if fmt.Sprint(c.SystemID) != v.out.Document.System {
			return fmt.Errorf("verify %s: it is of system %d, the backup of %s", controlFile, c.SystemID, v.out.Document.System)
		}
		v.checksums = c.ChecksumVersion != 0
		return nil
	})
}

// data reads every file.
func (v *verifier) data() error {
	err := v.from.Read(v.ctx, nil, func(e executors.Entry, r io.Reader) error {
		v.out.Items++
		v.out.Bytes += e.Size
		name, ok := inData(e.Path)
		if !ok || e.Type != executors.TypeFile {
			return nil
		}
		if err := v.file(name, r); err != nil {
			return fmt.Errorf("verify %s: %w", e.Path, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(v.want) > 0 {
		var names []string
		for name := range v.want {
			names = append(names, name)
		}
		slices.Sort(names)
		return fmt.Errorf("verify the base backup: %d files of the manifest are not in it: %s", len(names), executors.ListSome(names, 5))
	}
	if len(v.bad) > 0 && len(v.out.Document.Damaged) == 0 {
		return fmt.Errorf("verify the base backup: the checksum of %d pages is wrong, of which the server said nothing: %s", len(v.bad), executors.ListSome(v.bad, 5))
	}
	return nil
}

func (v *verifier) file(name string, r io.Reader) error {
	if within, ok := strings.CutPrefix(name, "pg_wal/"); ok {
		if wal.ParseName(within).Kind == wal.KindSegment {
			v.segments = append(v.segments, within)
		}
		delete(v.want, name) // notes about segments are listed, segments are not
		return nil
	}
	f, ok := v.want[name]
	if !ok {
		return errors.New("the server's manifest does not list it")
	}
	delete(v.want, name)
	check, err := f.Check()
	if err != nil {
		return err
	}
	var into io.Writer = check
	pages := &pageChecker{v: v, name: name}
	if rel, ok := pgdata.ParseRelFile(name); ok && v.checksums {
		pages.block = rel.FirstBlock()
		into = io.MultiWriter(check, pages)
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{into}, r, make([]byte, 256<<10)); err != nil {
		return err
	}
	return check.Finish()
}

// pageChecker computes the checksums of a relation's pages as they pass. A last piece that is no whole page is none.
type pageChecker struct {
	v     *verifier
	name  string
	block uint32
	part  pgdata.Page
	have  int
}

// Write implements io.Writer. It never fails.
func (p *pageChecker) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		k := copy(p.part[p.have:], b)
		p.have, b = p.have+k, b[k:]
		if p.have < len(p.part) {
			break
		}
		p.have = 0
		p.v.out.Pages++
		if pgdata.CheckPage(&p.part, p.block, p.v.bound) == pgdata.PageBad {
			p.v.bad = append(p.v.bad, fmt.Sprintf("block %d of %s", p.block, p.name))
		}
		p.block++
	}
	return n, nil
}

// wal reads the WAL that the backup carries, as recovery will.
func (v *verifier) wal() error {
	doc := v.out.Document
	if !doc.CarriesWAL {
		return nil
	}
	start, end, err := doc.Positions()
	if err != nil {
		return err
	}
	slices.Sort(v.segments)
	r, w := io.Pipe()
	go func() { w.CloseWithError(v.pump(w)) }()
	defer r.Close()
	records, err := wal.NewReader(r)
	if err != nil {
		return fmt.Errorf("verify the WAL of the base backup: %w", err)
	}
	if at := records.Header().Address; at > start {
		return fmt.Errorf("verify the WAL of the base backup: it begins at %s, needed is %s", at, start)
	}
	for {
		rec, err := records.Next()
		if errors.Is(err, io.EOF) {
			e := records.End()
			if e.LSN < end {
				return fmt.Errorf("verify the WAL of the base backup: it ends at %s (%s), the data is consistent at %s", e.LSN, e.Why, end)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("verify the WAL of the base backup: %w", err)
		}
		if rec.End >= end {
			return nil
		}
	}
}

// pump writes the segments one after the other.
func (v *verifier) pump(w io.Writer) error {
	for _, name := range v.segments {
		if err := readOne(v.ctx, v.from, WALPrefix+name, func(r io.Reader) error {
			_, err := io.Copy(w, r)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
