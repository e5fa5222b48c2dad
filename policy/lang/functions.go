package lang

import (
	"sort"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	ctyyaml "github.com/zclconf/go-cty-yaml"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// pure are the functions that depend on nothing but their arguments, under the names that Terraform's users know.
var pure = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "log": stdlib.LogFunc, "max": stdlib.MaxFunc,
	"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc, "sum": sumFunc,

	"chomp": stdlib.ChompFunc, "endswith": textTest(endsWith), "format": stdlib.FormatFunc, "formatdate": stdlib.FormatDateFunc,
	"formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc, "join": stdlib.JoinFunc, "lower": stdlib.LowerFunc,
	"regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "replace": replaceFunc, "split": stdlib.SplitFunc,
	"startswith": textTest(startsWith), "strcontains": textTest(contains), "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc,
	"title": stdlib.TitleFunc, "trim": stdlib.TrimFunc, "trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc,
	"trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,

	"alltrue": allTrueFunc, "anytrue": anyTrueFunc, "chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc,
	"coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
	"distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc, "index": indexFunc,
	"keys": stdlib.KeysFunc, "length": lengthFunc, "lookup": lookupFunc, "merge": stdlib.MergeFunc, "one": oneFunc,
	"range": stdlib.RangeFunc, "reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc,
	"setproduct": stdlib.SetProductFunc, "setsubtract": stdlib.SetSubtractFunc, "setunion": stdlib.SetUnionFunc,
	"slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

	"base64decode": base64DecodeFunc, "base64encode": base64EncodeFunc, "csvdecode": stdlib.CSVDecodeFunc,
	"jsondecode": stdlib.JSONDecodeFunc, "jsonencode": stdlib.JSONEncodeFunc, "md5": md5Func, "sha256": sha256Func,
	"urlencode": urlEncodeFunc, "yamldecode": ctyyaml.YAMLDecodeFunc, "yamlencode": ctyyaml.YAMLEncodeFunc,

	"can": tryfunc.CanFunc, "tobool": stdlib.MakeToFunc(cty.Bool), "tolist": quickTo(cty.List, cty.ListVal),
	"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "tonumber": stdlib.MakeToFunc(cty.Number),
	"toset": quickTo(cty.Set, cty.SetVal), "tostring": stdlib.MakeToFunc(cty.String),
	"try": tryfunc.TryFunc, "type": typeFunc,

	"basename": pathFunc(basename), "dirname": pathFunc(dirname), "timeadd": stdlib.TimeAddFunc,

	"bytes": bytesFunc, "duration": durationFunc, "seconds": secondsFunc,
}

// functions are all functions, with those that look outside bound to this evaluator.
func (e *evaluator) functions() map[string]function.Function {
	out := make(map[string]function.Function, len(pure)+5)
	for name, f := range pure {
		out[name] = f
	}
	out["env"] = e.envFunc()
	out["file"] = e.fileFunc()
	out["pathexpand"] = e.pathExpandFunc()
	out["sensitive"] = e.sensitiveFunc()
	out["nonsensitive"] = e.nonsensitiveFunc()
	return out
}

// functionInfo lists the functions for the schema, in order.
func functionInfo() []FunctionInfo {
	var out []FunctionInfo
	for name, doc := range functionDocs {
		out = append(out, FunctionInfo{Name: name, Doc: doc})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// functionDocs has one sentence for each function; a test compares it with the functions there are.
var functionDocs = map[string]string{
	"env":          "`env(\"NAME\")` or `env(\"NAME\", default)`: an environment variable, marked sensitive. In a sensitive argument it is read only when the secret is used.",
	"file":         "`file(\"path\")`: the text of a file, relative to the policy's folder. In a sensitive argument it is read only when the secret is used.",
	"duration":     "`duration(\"36h\")`: checks a duration and writes it in its shortest form, such as `\"7d\"` for `\"168h\"`.",
	"bytes":        "`bytes(\"10GiB\")`: the number of bytes. Units: B, kB, MB, GB, TB, PB and KiB, MiB, GiB, TiB, PiB.",
	"seconds":      "`seconds(\"36h\")`: the number of seconds of a duration, to compare by.",
	"sensitive":    "Marks a value as secret.",
	"nonsensitive": "Says that a value is no secret, so that it may stand in any argument.",
	"pathexpand":   "Replaces a leading `~` by the home folder.",

	"abs": "Absolute value.", "ceil": "Rounds up.", "floor": "Rounds down.", "log": "Logarithm of a number in a base.", "max": "Greatest of the arguments.", "min": "Least of the arguments.",
	"parseint": "Reads a whole number in a base.", "pow": "Power.", "signum": "Sign: -1, 0 or 1.", "sum": "Sum of a list of numbers.",
	"chomp": "Removes newlines at the end.", "endswith": "Whether a text ends with another.", "format": "Formats values, as printf does.", "formatdate": "Formats an RFC 3339 time.",
	"formatlist": "Formats each element of lists.", "indent": "Indents all lines but the first.", "join": "Joins texts with a separator.", "lower": "Lower case.",
	"regex": "First match of a regular expression; an error when there is none.", "regexall": "All matches.", "replace": "Replaces a text; between slashes, `/…/`, a regular expression.",
	"split": "Splits a text at a separator.", "startswith": "Whether a text starts with another.", "strcontains": "Whether a text contains another.", "strrev": "Reverses a text.",
	"substr": "Part of a text by offset and length.", "title": "Upper case for the first letter of each word.", "trim": "Removes characters at both ends.",
	"trimprefix": "Removes a prefix.", "trimspace": "Removes white space at both ends.", "trimsuffix": "Removes a suffix.", "upper": "Upper case.",
	"alltrue": "Whether all elements are true.", "anytrue": "Whether any element is true.", "chunklist": "Cuts a list into lists of a length.", "coalesce": "First argument that is not null and not empty.",
	"coalescelist": "First list that is not empty.", "compact": "Removes empty texts and nulls.", "concat": "Joins lists.", "contains": "Whether a list has a value.",
	"distinct": "Removes repeated elements.", "element": "Element of a list by index, round and round.", "flatten": "Flattens nested lists.", "index": "Position of a value in a list.",
	"keys": "Keys of a map, in order.", "length": "Number of elements, or of characters.", "lookup": "Element of a map by key, or a default.", "merge": "Merges maps; later ones win.",
	"one": "The only element of a list, or null of an empty one.", "range": "A list of numbers.", "reverse": "Reverses a list.", "setintersection": "Elements that are in all sets.",
	"setproduct": "All combinations.", "setsubtract": "Elements that are not in the second set.", "setunion": "Elements that are in any set.", "slice": "Part of a list.",
	"sort": "Sorts texts.", "values": "Values of a map, in the order of keys.", "zipmap": "A map from a list of keys and a list of values.",
	"base64decode": "Decodes base64 into text.", "base64encode": "Encodes text as base64.", "csvdecode": "Reads CSV with a header line.", "jsondecode": "Reads JSON.", "jsonencode": "Writes JSON.",
	"md5": "MD5 of a text, in hexadecimal.", "sha256": "SHA-256 of a text, in hexadecimal.", "urlencode": "Escapes a text for a URL's query.", "yamldecode": "Reads YAML.", "yamlencode": "Writes YAML.",
	"can": "Whether an expression has a value.", "tobool": "Converts to bool.", "tolist": "Converts to a list.", "tomap": "Converts to a map.", "tonumber": "Converts to a number.",
	"toset": "Converts to a set.", "tostring": "Converts to a text.", "try": "First argument that has a value.", "type": "Name of a value's type.",
	"basename": "Last part of a path.", "dirname": "A path without its last part.", "timeadd": "Adds a duration to an RFC 3339 time.",
}
