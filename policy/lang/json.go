package lang

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// json brings an object, or a text that holds one, into one form of JSON: two ways to write a thing are one thing. What is
// wrong with it is told by a summary; the result is unknown then.
func (s *Attribute) json(v cty.Value) (out cty.Value, summary, detail string) {
	unknown := cty.UnknownVal(cty.String)
	if !v.IsWhollyKnown() {
		return unknown, "", ""
	}
	var text string
	switch t := v.Type(); {
	case t == cty.String:
		text = v.AsString()
	case t.IsObjectType() || t.IsMapType():
		data, err := ctyjson.Marshal(v, t)
		if err != nil {
			return unknown, fmt.Sprintf("%s cannot be written as JSON", s.Name), err.Error() + "."
		}
		text = string(data)
	default:
		return unknown, fmt.Sprintf("Wrong type for %s", s.Name), fmt.Sprintf("%s takes an object, or a text that holds one as JSON; this is %s.", s.Name, article(t))
	}
	if strings.TrimSpace(text) == "" {
		return unknown, fmt.Sprintf("%s is empty", s.Name), "Leave it out, or say what is wanted."
	}
	in := json.NewDecoder(strings.NewReader(text))
	in.UseNumber() // ids are larger than a float holds
	var value any
	if err := in.Decode(&value); err != nil {
		return unknown, fmt.Sprintf("%s is not JSON", s.Name), fmt.Sprintf("Reading it: %v.", err)
	}
	object, ok := value.(map[string]any)
	switch _, err := in.Token(); {
	case !errors.Is(err, io.EOF):
		return unknown, fmt.Sprintf("%s is not JSON", s.Name), "More follows after its first value."
	case !ok:
		return unknown, fmt.Sprintf("%s is not an object", s.Name), "Its JSON must begin with { and end with }."
	case len(object) == 0:
		return unknown, fmt.Sprintf("%s is empty", s.Name), "Leave it out, or say what is wanted."
	}
	data, err := json.Marshal(object)
	if err != nil { // what was decoded encodes
		return unknown, fmt.Sprintf("%s cannot be written as JSON", s.Name), err.Error() + "."
	}
	return cty.StringVal(string(data)), "", ""
}
