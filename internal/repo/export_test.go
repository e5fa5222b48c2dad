package repo

import "github.com/holdfast-io/holdfast/internal/blob"

// Over returns the repository over another bucket, so that faults can begin when its keys are known.
func (r *Repository) Over(b blob.Bucket) *Repository {
	other := *r
	other.bucket = b
	return &other
}
