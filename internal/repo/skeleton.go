package repo

import (
	"context"
	"errors"
)

var errLater = errors.New("being written")

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
