package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/chunk"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
)

// unlock finds the key document that an identity opens and sets what the repository may do.
func (r *Repository) unlock(ctx context.Context, identities []age.Identity) error {
	plain := r.config.Encryption == EncryptionNone
	r.data = seal.Sealer{Plain: plain, Identities: identities}
	r.canRead = plain || slices.ContainsFunc(identities, func(id age.Identity) bool {
		return slices.Contains(r.config.Recipients, seal.PublicOf(id))
	})
	if !r.canRead {
		r.data.Identities = nil
		r.keyErr = &KeyError{Need: "read", Recipients: r.config.Recipients, Writers: r.config.Writers}
	}
	if !plain {
		var err error
		if r.data.Recipients, err = seal.ParseRecipients(r.config.Recipients); err != nil {
			return damaged(configName, "%v", err)
		}
	}
	document, found, err := r.findDocument(ctx, identities)
	if err != nil {
		return err
	}
	if !found {
		r.keyErr = &KeyError{Need: "write", Recipients: r.config.Recipients, Writers: r.config.Writers}
		return nil
	}
	return r.use(document)
}

// use checks a document against repo.json: whoever can write to the store could have changed the latter.
func (r *Repository) use(d seal.Document) error {
	if !slices.Equal(d.Recipients, r.config.Recipients) {
		return damaged(configName, "its recipients are not those of the repository's key; somebody changed who can read new backups")
	}
	meta, public, err := d.Metadata()
	if err != nil {
		return damaged(keysPrefix, "%v", err)
	}
	if public != r.config.MetadataRecipient {
		return damaged(configName, "its metadata recipient is not that of the repository's key")
	}
	key, err := d.RepositoryKey()
	if err != nil {
		return damaged(keysPrefix, "%v", err)
	}
	r.meta, r.keys, r.document = meta, chunk.NewKeys(key), d
	return nil
}

// ShareKeys lets a repository be used with the keys of another one of its family, where no identity at hand opens its own:
// a host that may write to the first store may write to the copies of it. It changes nothing when the two are no family.
func (r *Repository) ShareKeys(from *Repository) {
	if r.CanWrite() || !from.CanWrite() || r.Family() != from.Family() || r.config.MetadataRecipient != from.config.MetadataRecipient {
		return
	}
	r.meta, r.keys, r.document = from.meta, from.keys, from.document
	if r.canRead {
		r.keyErr = nil
	} else {
		r.keyErr = &KeyError{Need: "read", Recipients: r.config.Recipients, Writers: r.config.Writers}
	}
}

// findDocument tries the objects named after the identities first, then all others.
func (r *Repository) findDocument(ctx context.Context, identities []age.Identity) (seal.Document, bool, error) {
	plain := r.config.Encryption == EncryptionNone
	if !plain && len(identities) == 0 {
		return seal.Document{}, false, nil
	}
	likely := map[string]bool{r.config.keyName(""): plain}
	for _, id := range identities {
		likely[r.config.keyName(seal.PublicOf(id))] = true
	}
	var first, rest []string
	err := r.bucket.List(ctx, keysPrefix, func(i blob.Info) error {
		if likely[i.Name] {
			first = append(first, i.Name)
		} else {
			rest = append(rest, i.Name)
		}
		return nil
	})
	if err != nil {
		return seal.Document{}, false, fmt.Errorf("list key objects: %w", err)
	}
	var broken error
	var other *seal.Document
	opener := seal.Sealer{Plain: plain, Identities: identities}
	for _, name := range slices.Concat(first, rest) {
		document, err := readDocument(ctx, r.bucket, opener, name)
		switch {
		case errors.Is(err, seal.ErrNoIdentity), errors.Is(err, blob.ErrNotFound):
			continue
		case err != nil && ctx.Err() != nil:
			return seal.Document{}, false, err
		case err != nil:
			broken = err // another key holder's damaged object must not keep us out; ours is told below
		case document.Repository != r.config.family():
			continue
		case r.fits(document):
			return document, true, nil
		default:
			other = &document // of before or after a rotation, or repo.json was changed
		}
	}
	if other != nil {
		return *other, true, nil
	}
	return seal.Document{}, false, broken
}

// fits tells whether a key document is of the same rotation as repo.json.
func (r *Repository) fits(d seal.Document) bool {
	_, public, err := d.Metadata()
	return err == nil && public == r.config.MetadataRecipient && slices.Equal(d.Recipients, r.config.Recipients)
}

func readDocument(ctx context.Context, b blob.Bucket, opener seal.Sealer, name string) (seal.Document, error) {
	raw, err := b.Get(ctx, name)
	if err != nil {
		return seal.Document{}, fmt.Errorf("read key object: %w", err)
	}
	plain, err := opener.Open(raw)
	if errors.Is(err, seal.ErrNoIdentity) {
		return seal.Document{}, err
	}
	if err != nil {
		return seal.Document{}, damaged(name, "%v", err)
	}
	document, err := seal.DecodeDocument(plain)
	if err != nil {
		return seal.Document{}, damaged(name, "%v", err)
	}
	return document, nil
}
