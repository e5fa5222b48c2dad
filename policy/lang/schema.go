package lang

import "github.com/zclconf/go-cty/cty"

// Type is what an attribute holds.
type Type string

// The types of attributes.
const (
	TypeString     Type = "string"
	TypeBool       Type = "bool"
	TypeInt        Type = "whole number"
	TypeDuration   Type = "duration"            // "36h", "7d"
	TypeBytes      Type = "bytes"               // "10GiB"
	TypeRate       Type = "rate"                // "50MiB/s"
	TypePercent    Type = "percentage"          // "10%"
	TypeStrings    Type = "list of string"      // a tuple, list or set of strings
	TypeJSON       Type = "object or JSON text" // kept as JSON
	TypeReference  Type = "reference"
	TypeReferences Type = "list of references"
	TypeAddress    Type = "address"   // of an object that need not exist: never computed
	TypeCondition  Type = "condition" // over self: computed when there is something to ask
	TypeAny        Type = "any value"
	TypeType       Type = "type constraint" // string, list(string), ...
	TypeCollection Type = "map or set of strings"
)

// Attribute describes one argument of a block.
type Attribute struct {
	Name        string   `json:"name"`
	Type        Type     `json:"type"`
	Doc         string   `json:"description"`
	Required    bool     `json:"required,omitempty"`
	Default     string   `json:"default,omitempty"` // as written in HCL
	Sensitive   bool     `json:"sensitive,omitempty"`
	Reference   string   `json:"reference,omitempty"` // the block type it refers to
	Enum        []string `json:"enum,omitempty"`
	Min         int      `json:"min,omitempty"`
	Max         int      `json:"max,omitempty"` // 0: no bound
	Unavailable bool     `json:"not_available,omitempty"`
}

// Block describes one kind of block, at the top of a file or inside another block.
type Block struct {
	Type        string      `json:"type"`
	Kind        string      `json:"kind,omitempty"` // fixed first label: source "postgres"
	Named       bool        `json:"named,omitempty"`
	Doc         string      `json:"description"`
	Example     string      `json:"example,omitempty"`
	ForEach     bool        `json:"for_each,omitempty"`
	Repeatable  bool        `json:"repeatable,omitempty"`
	Required    bool        `json:"required,omitempty"`
	Free        bool        `json:"free_names,omitempty"` // argument names are the author's (locals)
	Attributes  []Attribute `json:"attributes,omitempty"`
	Blocks      []Block     `json:"blocks,omitempty"`
	Unavailable bool        `json:"not_available,omitempty"`
}

// Language is the whole schema.
type Language struct {
	Blocks    []Block        `json:"blocks"`
	Functions []FunctionInfo `json:"functions"`
}

// FunctionInfo describes a function.
type FunctionInfo struct {
	Name string `json:"name"`
	Doc  string `json:"description"`
}

// Schema returns the registry. Callers must not change it.
func Schema() *Language { return &language }

var language = Language{Blocks: registry, Functions: functionInfo()}

func (b *Block) attribute(name string) *Attribute {
	for i := range b.Attributes {
		if b.Attributes[i].Name == name {
			return &b.Attributes[i]
		}
	}
	return nil
}

func (b *Block) block(name string) *Block {
	for i := range b.Blocks {
		if b.Blocks[i].Type == name {
			return &b.Blocks[i]
		}
	}
	return nil
}

// labels are the names of the block's labels, in order.
func (b *Block) labels() []string {
	var out []string
	if b.Kind != "" {
		out = append(out, "kind")
	}
	if b.Named {
		out = append(out, "name")
	}
	return out
}

// names are the arguments and blocks a person may write, for suggestions.
func (b *Block) names() []string {
	var out []string
	for _, a := range b.Attributes {
		if !a.Unavailable {
			out = append(out, a.Name)
		}
	}
	for _, s := range b.Blocks {
		if !s.Unavailable {
			out = append(out, s.Type)
		}
	}
	if b.ForEach {
		out = append(out, "for_each")
	}
	return out
}

// ctyType is the type that values of the attribute are converted to.
func (t Type) ctyType() cty.Type {
	switch t {
	case TypeString, TypeDuration, TypeBytes, TypeRate, TypePercent, TypeJSON:
		return cty.String
	case TypeBool:
		return cty.Bool
	case TypeInt:
		return cty.Number
	case TypeStrings:
		return cty.List(cty.String)
	default:
		return cty.DynamicPseudoType
	}
}

// topLevel finds the description of a block by type, and kind where the type has kinds.
func topLevel(typ, kind string) *Block {
	for i := range registry {
		if registry[i].Type == typ && (registry[i].Kind == "" || registry[i].Kind == kind) {
			return &registry[i]
		}
	}
	return nil
}

// kindsOf lists the kinds of a block type.
func kindsOf(typ string) []string {
	var out []string
	for _, b := range registry {
		if b.Type == typ && b.Kind != "" {
			out = append(out, b.Kind)
		}
	}
	return out
}

// availableKinds lists the kinds of a block type that a person may write.
func availableKinds(typ string) []string {
	var out []string
	for _, k := range kindsOf(typ) {
		if !topLevel(typ, k).Unavailable {
			out = append(out, k)
		}
	}
	return out
}

// topLevelTypes lists the block types, each once, in the registry's order.
func topLevelTypes() []string {
	var out []string
	for _, b := range registry {
		if len(out) == 0 || out[len(out)-1] != b.Type {
			out = append(out, b.Type)
		}
	}
	return out
}

// availableTypes are the block types a person may write.
func availableTypes() []string {
	var out []string
	for _, t := range topLevelTypes() {
		for _, b := range registry {
			if b.Type == t && !b.Unavailable {
				out = append(out, t)
				break
			}
		}
	}
	return out
}
