package seal

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"
)

const (
	documentFormat  = "holdfast-repository-key"
	documentVersion = 1
)

// Document is what a key holder gets: the repository key and the identity that opens metadata. It repeats the repository's
// id and recipients, so that a changed repo.json cannot make a writer seal to somebody else.
type Document struct {
	Format           string   `json:"format"`
	Version          int      `json:"version"`
	Repository       string   `json:"repository"`
	Key              string   `json:"key"` // 64 hex digits
	MetadataIdentity string   `json:"metadata_identity,omitempty"`
	Recipients       []string `json:"recipients,omitempty"`
	// PastIdentities open metadata of before a rotation, the newest first.
	PastIdentities []string `json:"past_metadata_identities,omitempty"`
}

// NewDocument makes the keys of a new repository. With encrypted false there is no metadata identity.
func NewDocument(repository string, recipients []string, encrypted bool) (Document, error) {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	d := Document{Format: documentFormat, Version: documentVersion, Repository: repository, Key: hex.EncodeToString(key[:]), Recipients: recipients}
	if !encrypted {
		return d, nil
	}
	var err error
	d.MetadataIdentity, err = newIdentity(slices.ContainsFunc(recipients, IsPostQuantum))
	return d, err
}

// Rotated returns the document of the next key holders: the same repository key, another identity for metadata.
func (d Document) Rotated(recipients []string) (Document, error) {
	identity, err := newIdentity(slices.ContainsFunc(recipients, IsPostQuantum))
	if err != nil {
		return Document{}, err
	}
	d.PastIdentities = append([]string{d.MetadataIdentity}, d.PastIdentities...)
	d.MetadataIdentity, d.Recipients = identity, recipients
	return d, nil
}

func newIdentity(postQuantum bool) (string, error) {
	if postQuantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return "", fmt.Errorf("generate metadata identity: %w", err)
		}
		return id.String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", fmt.Errorf("generate metadata identity: %w", err)
	}
	return id.String(), nil
}

// Encode returns the document as JSON.
func (d Document) Encode() ([]byte, error) {
	out, err := json.MarshalIndent(d, "", "  ")
	return append(out, '\n'), err
}

// DecodeDocument parses what Encode wrote.
func DecodeDocument(data []byte) (Document, error) {
	var d Document
	if err := json.Unmarshal(data, &d); err != nil {
		return Document{}, fmt.Errorf("parse key document: %w", err)
	}
	if d.Format != documentFormat || d.Version != documentVersion {
		return Document{}, fmt.Errorf("parse key document: format %q version %d is not known", d.Format, d.Version)
	}
	if _, err := d.RepositoryKey(); err != nil {
		return Document{}, err
	}
	return d, nil
}

// RepositoryKey returns the key that chunk ids and the gear table are derived from.
func (d Document) RepositoryKey() ([32]byte, error) {
	var key [32]byte
	if len(d.Key) != 64 {
		return key, errors.New("parse key document: key has not 64 hex digits")
	}
	if _, err := hex.Decode(key[:], []byte(d.Key)); err != nil {
		return key, fmt.Errorf("parse key document: key: %w", err)
	}
	return key, nil
}

// Metadata returns the sealer for index, summaries and hints, and its public half.
func (d Document) Metadata() (Sealer, string, error) {
	if d.MetadataIdentity == "" {
		return Sealer{Plain: true}, "", nil
	}
	ids, err := age.ParseIdentities(strings.NewReader(d.MetadataIdentity))
	if err != nil || len(ids) != 1 {
		return Sealer{}, "", errors.New("parse key document: metadata_identity is not one age identity")
	}
	public := PublicOf(ids[0])
	recipient, err := ParseRecipient(public)
	if err != nil {
		return Sealer{}, "", fmt.Errorf("parse key document: %w", err)
	}
	for _, past := range d.PastIdentities {
		id, err := age.ParseIdentities(strings.NewReader(past))
		if err != nil || len(id) != 1 {
			return Sealer{}, "", errors.New("parse key document: past_metadata_identities holds something that is no age identity")
		}
		ids = append(ids, id[0])
	}
	return Sealer{Recipients: []age.Recipient{recipient}, Identities: ids}, public, nil
}

// PublicOf returns the recipient string of a native identity, "" for any other.
func PublicOf(id age.Identity) string {
	switch id := id.(type) {
	case *age.X25519Identity:
		return id.Recipient().String()
	case *age.HybridIdentity:
		return id.Recipient().String()
	default:
		return ""
	}
}

// IsPostQuantum tells whether a recipient string is a hybrid post-quantum one.
func IsPostQuantum(recipient string) bool { return strings.HasPrefix(recipient, "age1pq1") }

// ParseRecipient parses a native recipient, X25519 or hybrid post-quantum.
func ParseRecipient(s string) (age.Recipient, error) {
	var r age.Recipient
	var err error
	if IsPostQuantum(s) {
		r, err = age.ParseHybridRecipient(s)
	} else {
		r, err = age.ParseX25519Recipient(s)
	}
	if err != nil {
		return nil, fmt.Errorf("recipient %.80q: %w", s, err)
	}
	return r, nil
}

// ParseRecipients parses those that share one file. They must all be of one kind: a single X25519 recipient would make
// every file open to a quantum computer, so age refuses the mixture, and so do we, before anything is written.
func ParseRecipients(all []string) ([]age.Recipient, error) {
	var out []age.Recipient
	for i, s := range all {
		if slices.Contains(all[:i], s) {
			return nil, fmt.Errorf("recipient %.80q is named twice", s)
		}
		if IsPostQuantum(s) != IsPostQuantum(all[0]) {
			return nil, fmt.Errorf("recipients mix post-quantum and classic keys (%.20s… and %.20s…); use one kind for all of them, since a single classic one would leave the data open to quantum computers", all[0], s)
		}
		r, err := ParseRecipient(s)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}
