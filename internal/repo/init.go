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
	// Like makes a repository that shares the keys of another one with the same recipients, so that points can be brought
	// over as stored. With the same writers no key is needed; with others, one that opens the repository key of Like.
	Like *Repository
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
	config, err := prepare(ctx, b, o)
	if err != nil {
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

// prepare makes the configuration and stores the keys.
func prepare(ctx context.Context, b blob.Bucket, o InitOptions) (Config, error) {
	if o.Like != nil {
		return prepareLike(ctx, b, o)
	}
	config, document, err := newRepository(o)
	if err != nil {
		return Config{}, err
	}
	err = storeKeys(ctx, b, &config, document, createVerified)
	return config, err
}

func prepareLike(ctx context.Context, b blob.Bucket, o InitOptions) (Config, error) {
	config := o.Like.config
	if !slices.Equal(sortedSet(o.Recipients), sortedSet(config.Recipients)) || o.None != (config.Encryption == EncryptionNone) {
		return Config{}, errors.New("a repository that shares another one's keys has the same recipients")
	}
	config.ID, config.Family, config.Created = newID(), o.Like.config.family(), time.Now().UTC().Truncate(time.Second)
	if slices.Equal(sortedSet(o.Writers), sortedSet(config.Writers)) {
		err := o.Like.copyKeys(ctx, b)
		if !errors.Is(err, blob.ErrNotFound) || !o.Like.CanWrite() {
			return config, err
		}
	}
	if err := o.Like.needWrite(); err != nil {
		return Config{}, err
	}
	config.Writers = o.Writers
	err := storeKeys(ctx, b, &config, o.Like.document, putVerified)
	return config, err
}

func sortedSet(list []string) []string {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// copyKeys brings the key objects over as stored. Repeating it after a crash is safe.
func (r *Repository) copyKeys(ctx context.Context, b blob.Bucket) error {
	for _, holder := range r.config.holders() {
		name := r.config.keyName(holder)
		raw, err := r.bucket.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("read key object: %w", err)
		}
		if err := putVerified(ctx, b, name, raw); err != nil {
			return err
		}
	}
	return nil
}

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
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
	config := Config{
		Format: configFormat, Version: configVersion, ID: newID(), Created: time.Now().UTC().Truncate(time.Second),
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

// storeKeys writes one object per key holder and notes their hashes in config: age refuses to mix classic and post-quantum
// recipients in one file, and a classic writer beside post-quantum recipients is a sensible wish.
func storeKeys(ctx context.Context, b blob.Bucket, config *Config, document seal.Document, write func(context.Context, blob.Bucket, string, []byte) error) error {
	plain, err := document.Encode()
	if err != nil {
		return fmt.Errorf("encode key document: %w", err)
	}
	config.KeyObjects = map[string]string{}
	for _, holder := range config.holders() {
		sealed, err := sealFor(holder, plain)
		if err != nil {
			return err
		}
		name := config.keyName(holder)
		config.KeyObjects[name] = hashOf(sealed)
		if err := write(ctx, b, name, sealed); err != nil {
			return err
		}
	}
	return nil
}

// sealFor seals to one holder; nobody is the holder without encryption.
func sealFor(holder string, plain []byte) ([]byte, error) {
	if holder == "" {
		return plain, nil
	}
	recipients, err := seal.ParseRecipients([]string{holder})
	if err != nil {
		return nil, err
	}
	return seal.Sealer{Recipients: recipients}.Seal(plain)
}
