package qdrantserver

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// pointID is a number or a UUID. Numbers come first in every order.
type pointID struct {
	isUUID bool
	num    uint64
	uuid   [16]byte
}

func (id pointID) compare(other pointID) int {
	switch {
	case id.isUUID != other.isUUID:
		if other.isUUID {
			return -1
		}
		return 1
	case id.isUUID:
		return bytes.Compare(id.uuid[:], other.uuid[:])
	case id.num < other.num:
		return -1
	case id.num > other.num:
		return 1
	}
	return 0
}

func (id pointID) String() string {
	if !id.isUUID {
		return strconv.FormatUint(id.num, 10)
	}
	return formatUUID(id.uuid)
}

func formatUUID(u [16]byte) string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func (id pointID) MarshalJSON() ([]byte, error) {
	if id.isUUID {
		return []byte(`"` + id.String() + `"`), nil
	}
	return []byte(id.String()), nil
}

// UnmarshalJSON takes a number, or a UUID in any of its spellings.
func (id *pointID) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		parsed, err := parseUUID(s)
		if err != nil {
			return fmt.Errorf("value %s is not a valid point ID, valid values are either an unsigned integer or a UUID", s)
		}
		*id = parsed
		return nil
	}
	num, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return fmt.Errorf("value %s is not a valid point ID, valid values are either an unsigned integer or a UUID", text)
	}
	*id = pointID{num: num}
	return nil
}

func parseUUID(s string) (pointID, error) {
	s = strings.TrimPrefix(strings.ToLower(s), "urn:uuid:")
	s = strings.ReplaceAll(strings.Trim(s, "{}"), "-", "")
	id := pointID{isUUID: true}
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 16 {
		return id, fmt.Errorf("no UUID: %q", s)
	}
	copy(id.uuid[:], raw)
	return id, nil
}

// bytes is the id as the id tracker files hold it, always of the same length.
func (id pointID) bytes() []byte {
	b := make([]byte, idSize)
	if id.isUUID {
		b[0] = 1
		copy(b[8:], id.uuid[:])
		return b
	}
	binary.LittleEndian.PutUint64(b[8:], id.num)
	return b
}

const idSize = 24

func idFromBytes(b []byte) (pointID, error) {
	switch b[0] {
	case 0:
		return pointID{num: binary.LittleEndian.Uint64(b[8:])}, nil
	case 1:
		id := pointID{isUUID: true}
		copy(id.uuid[:], b[8:])
		return id, nil
	}
	return pointID{}, fmt.Errorf("id tracker has an id of kind %d", b[0])
}

// normalJSON writes a value in one spelling: no spaces, keys in the order given with the last of two equal ones kept,
// integers that fit into 64 bits as they are, other numbers the way a float64 is printed.
func normalJSON(text []byte) (json.RawMessage, error) { return rewriteJSON(text, normalNumber) }

// verbatim leaves a number as it is.
func verbatim(number string) (string, error) { return number, nil }

func rewriteJSON(text []byte, number func(string) (string, error)) (json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out bytes.Buffer
	if err := normalValue(d, &out, number); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func normalValue(d *json.Decoder, out *bytes.Buffer, number func(string) (string, error)) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return normalArray(d, out, number)
		}
		return normalObject(d, out, number)
	case json.Number:
		text, err := number(t.String())
		out.WriteString(text)
		return err
	default:
		out.Write(encode(t))
	}
	return nil
}

func normalArray(d *json.Decoder, out *bytes.Buffer, number func(string) (string, error)) error {
	out.WriteByte('[')
	for i := 0; d.More(); i++ {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := normalValue(d, out, number); err != nil {
			return err
		}
	}
	out.WriteByte(']')
	_, err := d.Token()
	return err
}

func normalObject(d *json.Decoder, out *bytes.Buffer, number func(string) (string, error)) error {
	var keys []string
	values := map[string][]byte{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value bytes.Buffer
		if err := normalValue(d, &value, number); err != nil {
			return err
		}
		name := key.(string)
		if _, known := values[name]; !known {
			keys = append(keys, name)
		}
		values[name] = value.Bytes()
	}
	out.WriteByte('{')
	for i, key := range keys {
		if i > 0 {
			out.WriteByte(',')
		}
		out.Write(encode(key))
		out.WriteByte(':')
		out.Write(values[key])
	}
	out.WriteByte('}')
	_, err := d.Token()
	return err
}
