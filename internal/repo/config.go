package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/repo/chunk"
)

const (
	configFormat  = "holdfast-repository"
	configVersion = 1
	chunkMethod   = "gear-1"
	baseAverage   = 256 << 10
)

// The kinds of encryption.
const (
	EncryptionAge  = "age"
	EncryptionNone = "none"
)

// Config is repo.json: public, written once by Init.
type Config struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	ID      string `json:"id"` // 32 hex digits; tells this store from others
	// Family is the id of the repository whose keys this one shares; empty when they are its own. Key documents and
	// manifests bind to it, so that they can be brought over as stored.
	Family     string    `json:"family,omitempty"`
	Created    time.Time `json:"created"`
	Encryption string    `json:"encryption"`
	Recipients []string  `json:"recipients,omitempty"` // can read
	Writers    []string  `json:"writers,omitempty"`    // can add and deduplicate
	// MetadataRecipient is the public half of the identity that opens index, summaries and hints.
	MetadataRecipient string         `json:"metadata_recipient,omitempty"`
	Chunking          ChunkingConfig `json:"chunking"`
	// Rotation counts how often the key holders changed. It is part of the names of key objects, so that those of before
	// and after a change never stand in each other's way.
	Rotation int `json:"rotation,omitempty"`
	// KeyObjects are the SHA-256 of the key objects, so that anybody can check them without a key.
	KeyObjects map[string]string `json:"key_objects,omitempty"`
	// Checksum is the SHA-256 of this document with 64 zeros in its place.
	Checksum string `json:"checksum,omitempty"`
}

// ChunkingConfig says how content is cut. The gear table is not here: it is derived from the repository key.
type ChunkingConfig struct {
	Method  string `json:"method"`
	Average int    `json:"average"` // bytes, for sources below 64 GiB
}

func (c Config) family() string {
	if c.Family != "" {
		return c.Family
	}
	return c.ID
}

var noChecksum = strings.Repeat("0", 64)

// Encode returns repo.json.
func (c Config) Encode() ([]byte, error) {
	c.Checksum = noChecksum
	out, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	out = append(out, '\n')
	return bytes.Replace(out, []byte(noChecksum), []byte(hashOf(out)), 1), nil
}

// checkSum compares the checksum. Documents of before there was one have no key objects either.
func (c Config) checkSum(data []byte) error {
	if c.Checksum == "" && len(c.KeyObjects) == 0 {
		return nil
	}
	if !isHash(c.Checksum) || bytes.Count(data, []byte(c.Checksum)) != 1 || hashOf(bytes.Replace(data, []byte(c.Checksum), []byte(noChecksum), 1)) != c.Checksum {
		return errors.New("its checksum does not fit its content")
	}
	return nil
}

// holders returns who has a key object, once each; without encryption the one object that everybody can open.
func (c Config) holders() []string {
	if c.Encryption == EncryptionNone {
		return []string{""}
	}
	var out []string
	for _, h := range slices.Concat(c.Recipients, c.Writers) {
		if !slices.Contains(out, h) {
			out = append(out, h) // a recipient may be named as a writer too
		}
	}
	return out
}

// keyName names the key object of a holder.
func (c Config) keyName(holder string) string {
	if c.Rotation > 0 {
		holder = fmt.Sprintf("%s %d", holder, c.Rotation)
	}
	return keyName(c.family(), holder, c.Encryption != EncryptionNone)
}

// DecodeConfig parses and checks repo.json.
func DecodeConfig(data []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fmt.Errorf("parse: %w", err)
	}
	if err := c.checkSum(data); err != nil {
		return Config{}, err
	}
	c.Checksum = "" // of these bytes; Encode makes its own
	switch {
	case c.Format != configFormat:
		return Config{}, fmt.Errorf("format is %q, not %q", c.Format, configFormat)
	case c.Version != configVersion:
		return Config{}, fmt.Errorf("repository version %d is not known to this holdfast (it knows %d); use a newer one", c.Version, configVersion)
	case len(c.ID) != 32 || len(c.family()) != 32:
		return Config{}, errors.New("id or family has not 32 hex digits")
	case c.Encryption != EncryptionAge && c.Encryption != EncryptionNone:
		return Config{}, fmt.Errorf("encryption %q is not known", c.Encryption)
	case c.Encryption == EncryptionAge && (len(c.Recipients) == 0 || c.MetadataRecipient == ""):
		return Config{}, errors.New("an encrypted repository names recipients and a metadata recipient")
	case c.Chunking.Method != chunkMethod:
		return Config{}, fmt.Errorf("chunking method %q is not known", c.Chunking.Method)
	case c.Chunking.Average < 4<<10 || c.Chunking.Average > chunk.MaxChunk/2 || bits.OnesCount(uint(c.Chunking.Average)) != 1:
		return Config{}, fmt.Errorf("chunking average %d is not a power of two from 4 KiB to 4 MiB", c.Chunking.Average)
	}
	return c, nil
}

// unchanged makes sure that repo.json is what it was when the repository was opened. Only who holds the pruner's lease
// changes it.
func (r *Repository) unchanged(ctx context.Context) error {
	raw, err := r.bucket.Get(ctx, configName)
	if err != nil {
		return fmt.Errorf("read repository configuration: %w", err)
	}
	now, err := DecodeConfig(raw)
	if err != nil {
		return damaged(configName, "%v", err)
	}
	if now.ID != r.config.ID || now.Rotation != r.config.Rotation {
		return errors.New("the repository's key holders were changed meanwhile; run the same command again")
	}
	return nil
}

// putConfig replaces repo.json.
func (r *Repository) putConfig(ctx context.Context, next Config) error {
	raw, err := next.Encode()
	if err != nil {
		return fmt.Errorf("encode repository configuration: %w", err)
	}
	if err := putVerified(ctx, r.bucket, configName, raw); err != nil {
		return err
	}
	r.config = next
	return nil
}
