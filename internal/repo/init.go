package repo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/seal"
)

// InitOptions say who can read and who can write a new repository. Recipients read and write; Writers add and deduplicate
// but cannot read what is backed up. None makes a repository without encryption and excludes both lists.
type InitOptions struct {
	Recipients []string
	Writers    []string
	None       bool
}

// Init creates a repository in an empty bucket and returns its id. It is safe to repeat after a crash: repo.json is
// written last and only if absent, and keys left by an unfinished Init are ignored.
//
// Errors: ErrExists, ErrForeign, bad recipients, those of the bucket.
func Init(ctx context.Context, b blob.Bucket, o InitOptions) (string, error) {
	if err := checkHolders(o); err != nil {
		return "", err
	}
	if err := checkEmpty(ctx, b); err != nil {
		return "", err
	}
	config, document, err := newRepository(o)
	if err != nil {
		return "", err
	}
	if err := storeKeys(ctx, b, config, document); err != nil {
		return "", err
	}
	raw, err := config.Encode()
	if err != nil {
		return "", fmt.Errorf("encode repository configuration: %w", err)
	}
	err = createVerified(ctx, b, configName, raw)
	if errors.Is(err, blob.ErrExists) {
		return "", ErrExists
	}
	return config.ID, err
}

func checkHolders(o InitOptions) error {
	if o.None {
		if len(o.Recipients)+len(o.Writers) > 0 {
			return errors.New("a repository without encryption has no recipients and no writers")
		}
		return nil
	}
	if len(o.Recipients) == 0 {
		return errors.New("an encrypted repository needs at least one recipient; holdfast key generate makes one")
	}
	if _, err := seal.ParseRecipients(o.Recipients); err != nil {
		return err
	}
	for _, w := range o.Writers {
		if _, err := seal.ParseRecipient(w); err != nil {
			return fmt.Errorf("writer: %w", err)
		}
	}
	return nil
}

func checkEmpty(ctx context.Context, b blob.Bucket) error {
	if _, err := b.Stat(ctx, configName); err == nil {
		return ErrExists
	} else if !errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("look for a repository: %w", err)
	}
	return b.List(ctx, "", func(i blob.Info) error {
		if strings.HasPrefix(i.Name, keysPrefix) {
			return nil // of an unfinished Init
		}
		if i.Name == configName {
			return ErrExists
		}
		return fmt.Errorf("%w (found %s)", ErrForeign, i.Name)
	})
}

func newRepository(o InitOptions) (Config, seal.Document, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	config := Config{
		Format: configFormat, Version: configVersion, ID: hex.EncodeToString(id[:]), Created: time.Now().UTC().Truncate(time.Second),
		Encryption: EncryptionAge, Recipients: o.Recipients, Writers: o.Writers,
		Chunking: ChunkingConfig{Method: chunkMethod, Average: baseAverage},
	}
	if o.None {
		config.Encryption = EncryptionNone
	}
	document, err := seal.NewDocument(config.ID, o.Recipients, !o.None)
	if err != nil {
		return Config{}, seal.Document{}, err
	}
	_, config.MetadataRecipient, err = document.Metadata()
	return config, document, err
}

// storeKeys writes one object per key holder: age refuses to mix classic and post-quantum recipients in one file, and a
// classic writer beside post-quantum recipients is a sensible wish.
func storeKeys(ctx context.Context, b blob.Bucket, config Config, document seal.Document) error {
	plain, err := document.Encode()
	if err != nil {
		return fmt.Errorf("encode key document: %w", err)
	}
	if config.Encryption == EncryptionNone {
		return createVerified(ctx, b, keyName(config.ID, "", false), plain)
	}
	holders := slices.Concat(config.Recipients, config.Writers)
	for i, holder := range holders {
		if slices.Contains(holders[:i], holder) {
			continue // a recipient that is named as a writer too
		}
		recipients, err := seal.ParseRecipients([]string{holder})
		if err != nil {
			return err
		}
		sealed, err := seal.Sealer{Recipients: recipients}.Seal(plain)
		if err != nil {
			return err
		}
		if err := createVerified(ctx, b, keyName(config.ID, holder, true), sealed); err != nil {
			return err
		}
	}
	return nil
}
