package repo

import (
	"context"
	"errors"
	"io"

	"filippo.io/age"
	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/manifest"
)

var errLater = errors.New("being written")

const configName = "repo.json"

func (r *Repository) unlock(ctx context.Context, ids []age.Identity) error { return errLater }

// InitOptions say who can read and write a new repository.
type InitOptions struct {
	Recipients []string
	Writers    []string
	None       bool
}

func Init(ctx context.Context, b blob.Bucket, o InitOptions) (id string, err error) {
	return "", errLater
}

type WriterOptions struct {
	Address     string
	Point       string
	Compression string // "none", "fast", "default", "better"; empty means default
	SizeHint    int64
	IsSkip      func(error) bool
	IsReread    func(error) bool
	Progress    func(WriterStats)
}

type WriterStats struct {
	Items  int64
	Bytes  int64
	Stored int64
	Reused int64
}

type Content struct {
	Open        func() (io.ReadCloser, error)
	SizeHint    int64
	Fingerprint []byte
}

type Receipt struct {
	Manifest, Summary   string
	Size, Stored, Items int64
	Warnings            []string
}

type Writer struct{}

func (r *Repository) NewWriter(ctx context.Context, o WriterOptions) (*Writer, error) {
	return nil, errLater
}
func (w *Writer) Add(ctx context.Context, e manifest.Entry, c Content) error { return errLater }
func (w *Writer) Flush(ctx context.Context) error                            { return errLater }
func (w *Writer) Stats() WriterStats                                         { return WriterStats{} }
func (w *Writer) Commit(ctx context.Context, info manifest.Info) (Receipt, error) {
	return Receipt{}, errLater
}
func (w *Writer) Abort() {}

type Reader struct{}

func (r *Repository) OpenPoint(ctx context.Context, address, id string) (*Reader, error) {
	return nil, errLater
}
func (rd *Reader) Summary() manifest.Summary { return manifest.Summary{} }
func (rd *Reader) Header() manifest.Header   { return manifest.Header{} }
func (rd *Reader) Entries(ctx context.Context, each func(manifest.Entry) error) error {
	return errLater
}
func (rd *Reader) Read(ctx context.Context, want func(manifest.Entry) bool, each func(manifest.Entry, io.Reader) error) error {
	return errLater
}

type PointRef struct {
	Address, ID       string
	Manifest, Summary bool
}

func (r *Repository) Summary(ctx context.Context, address, id string) (manifest.Summary, error) {
	return manifest.Summary{}, errLater
}
func (r *Repository) Points(ctx context.Context) ([]PointRef, error) { return nil, errLater }
func (r *Repository) HasManifest(ctx context.Context, address, id string) (sha256hex string, ok bool, err error) {
	return "", false, errLater
}
func (r *Repository) DeletePoint(ctx context.Context, address, id string) error { return errLater }

type VerifyOptions struct {
	Points   []PointCheck
	All      bool
	Progress func(VerifyProgress)
}
type VerifyProgress struct{ Objects, Bytes, TotalObjects, TotalBytes int64 }
type PointCheck struct{ Address, ID, ManifestSHA, SummarySHA string }
type VerifyReport struct {
	Objects, Bytes int64
	Damaged        []Damage
}
type Damage struct {
	Object  string
	Problem string
	Points  []string
}

func (r *Repository) VerifyStored(ctx context.Context, o VerifyOptions) (VerifyReport, error) {
	return VerifyReport{}, errLater
}
func (r *Repository) VerifyRead(ctx context.Context, address, id string, progress func(VerifyProgress)) (VerifyReport, error) {
	return VerifyReport{}, errLater
}
func (r *Repository) RebuildIndex(ctx context.Context) (RebuildReport, error) {
	return RebuildReport{}, errLater
}

type RebuildReport struct{ Packs, Chunks int64 }
