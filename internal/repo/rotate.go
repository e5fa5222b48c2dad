package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
)

// RotateOptions say who can read and who can write from now on.
type RotateOptions struct {
	Recipients []string
	Writers    []string
	// Like takes over the keys of another repository of the family that was rotated before, so that points can still be
	// brought over as stored. It has the same recipients.
	Like *Repository
}

// Rotate changes the key holders: new data is sealed to the new recipients, whoever is no recipient and no writer any more
// finds no key object here. What was stored before stays readable by whom it was sealed to; Reseal changes that. Writers
// that are at work go on with the old recipients until they end.
//
// Order: new key objects, under names of their own; repo.json; then the old key objects go. At every moment a key that stays
// opens the repository. Repeating it after a crash is safe. The repository goes on with the new holders; CanRead stays what
// it was until it is opened again.
//
// Errors: KeyError, LeaseHeldError (a prune or another rotation), bad recipients, those of the bucket.
func (r *Repository) Rotate(ctx context.Context, o RotateOptions) error {
	if err := r.needWrite(); err != nil {
		return err
	}
	if r.config.Encryption == EncryptionNone {
		return errors.New("a repository without encryption has no keys to rotate; make a new one with recipients and copy the points there")
	}
	if err := checkHolders(InitOptions{Recipients: o.Recipients, Writers: o.Writers}); err != nil {
		return err
	}
	config, document, err := r.rotated(o)
	if err != nil {
		return err
	}
	held, err := r.prunerLease(ctx)
	if err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	return errors.Join(r.rotate(held, config, document), held.release(ctx))
}

// rotated makes the next configuration and key document. The repository key stays: it makes chunk ids, and with another one
// nothing stored so far would be recognised.
func (r *Repository) rotated(o RotateOptions) (Config, seal.Document, error) {
	config := r.config
	config.Recipients, config.Writers = o.Recipients, o.Writers
	config.Rotation++
	if o.Like == nil {
		document, err := r.document.Rotated(o.Recipients)
		if err != nil {
			return Config{}, seal.Document{}, err
		}
		_, config.MetadataRecipient, err = document.Metadata()
		return config, document, err
	}
	if err := o.Like.needWrite(); err != nil {
		return Config{}, seal.Document{}, err
	}
	like := o.Like.config
	if like.family() != r.config.family() || !slices.Equal(sortedSet(o.Recipients), sortedSet(like.Recipients)) {
		return Config{}, seal.Document{}, errors.New("only a repository of the same family and with the same recipients can lend its keys")
	}
	// In the order of the other one, which its document repeats.
	config.Recipients, config.MetadataRecipient = like.Recipients, like.MetadataRecipient
	config.Rotation = max(config.Rotation, like.Rotation)
	return config, o.Like.document, nil
}

func (r *Repository) rotate(held *lease, config Config, document seal.Document) error {
	ctx := held.ctx
	if err := r.unchanged(ctx); err != nil {
		return err
	}
	if err := storeKeys(ctx, r.bucket, &config, document, putVerified); err != nil {
		return err
	}
	if err := held.renew(ctx); err != nil {
		return err
	}
	if err := r.putConfig(ctx, config); err != nil {
		return err
	}
	if err := r.dropKeys(ctx); err != nil {
		return fmt.Errorf("%w; the new keys are in force, and rotating again removes the old key objects", err)
	}
	var err error
	if r.data.Recipients, err = seal.ParseRecipients(config.Recipients); err != nil {
		return err
	}
	return r.use(document)
}

// dropKeys deletes key objects that repo.json does not name.
func (r *Repository) dropKeys(ctx context.Context) error {
	var old []string
	err := r.bucket.List(ctx, keysPrefix, func(i blob.Info) error {
		if _, named := r.config.KeyObjects[i.Name]; !named && kindOf(i.Name) == kindKey {
			old = append(old, i.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list key objects: %w", err)
	}
	for _, name := range old {
		if err := r.bucket.Delete(ctx, name); err != nil {
			return fmt.Errorf("delete old key object: %w", err)
		}
	}
	return nil
}
