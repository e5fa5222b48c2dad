package statefile

import (
	"encoding/json"
	"fmt"

	"github.com/holdfast-io/holdfast/state"
)

type objectFile struct {
	Address    string          `json:"address"`
	Hash       string          `json:"hash"`
	Forgotten  bool            `json:"forgotten,omitempty"`
	Repository string          `json:"repository,omitempty"`
	Identity   string          `json:"identity,omitempty"`
	Retention  json.RawMessage `json:"retention,omitempty"`
	Usage      *state.Usage    `json:"usage,omitempty"`
	Attributes json.RawMessage `json:"attributes,omitempty"`
}

// AppendObjects appends the plain bytes of an objects segment. Attributes are written byte for byte, so that their hash
// stays true.
func AppendObjects(dst []byte, addresses []string, objects map[string]state.Object) ([]byte, error) {
	e := encoder{buf: dst}
	e.begin("objects", "objects")
	for i, address := range addresses {
		o := objects[address]
		if len(o.Attributes) > 0 && !json.Valid(o.Attributes) {
			return nil, fmt.Errorf("encode object %s: its attributes are not JSON", address)
		}
		e.comma(i)
		e.string("\n{\"address\":", address)
		e.string(`,"hash":`, o.Hash)
		if o.Forgotten {
			e.raw(`,"forgotten":true`)
		}
		if o.Repository != "" {
			e.string(`,"repository":`, o.Repository)
		}
		e.optional(`,"identity":`, o.Identity)
		if len(o.Retention) > 0 {
			if !json.Valid(o.Retention) {
				return nil, fmt.Errorf("encode object %s: its retention is not JSON", address)
			}
			e.raw(`,"retention":`)
			e.buf = append(e.buf, o.Retention...)
		}
		if o.Usage != nil {
			e.usage(*o.Usage)
		}
		if len(o.Attributes) > 0 {
			e.raw(`,"attributes":`)
			e.buf = append(e.buf, o.Attributes...)
		}
		e.raw("}")
	}
	e.raw("]}\n")
	if e.err != nil {
		return nil, fmt.Errorf("encode objects: %w", e.err)
	}
	return e.buf, nil
}

func (e *encoder) usage(u state.Usage) {
	u.At, u.Due = u.At.UTC(), u.Due.UTC()
	data, err := encode(u)
	e.err = first(e.err, err)
	e.raw(`,"usage":`)
	e.buf = append(e.buf, data...)
}

// DecodeObjects reads an objects segment; name is the object's, for errors.
func DecodeObjects(name string, plain []byte, add func(address string, o state.Object)) error {
	var f struct {
		header
		Objects []objectFile `json:"objects"`
	}
	if err := f.decode(name, "objects", plain, &f); err != nil {
		return err
	}
	for _, o := range f.Objects {
		add(o.Address, state.Object{
			Attributes: o.Attributes, Hash: o.Hash, Forgotten: o.Forgotten, Repository: o.Repository, Identity: o.Identity,
			Retention: o.Retention, Usage: o.Usage,
		})
	}
	return nil
}

// header opens every segment.
type header struct {
	FormatVersion int    `json:"format_version"`
	Kind          string `json:"kind"`
}

func (h *header) decode(name, kind string, plain []byte, into any) error {
	if _, err := probeVersion(name, plain); err != nil {
		return err
	}
	if err := decodeStrict(plain, into); err != nil {
		return corrupt(name, "%w", err)
	}
	if h.Kind != kind {
		return corrupt(name, "it holds %q and not %s", h.Kind, kind)
	}
	return nil
}
