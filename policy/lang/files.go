package lang

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"

	"github.com/holdfast-io/holdfast/internal/diag"
)

// file is one file as read.
type file struct {
	name string // as shown to people
	src  []byte
}

// sources are the files of one configuration, in the order they count.
type sources struct {
	policies  []file
	variables []file
}

func (s sources) names() []string {
	var out []string
	for _, f := range append(append([]file(nil), s.policies...), s.variables...) {
		out = append(out, f.name)
	}
	return out
}

// text is the policy as written, each file under a line that names it.
func (s sources) text() []byte {
	var b bytes.Buffer
	for _, f := range s.policies {
		fmt.Fprintf(&b, "%s%s\n%s", fileMark, filepath.Base(f.name), f.src)
		if !bytes.HasSuffix(f.src, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// fileMark begins the line above each file in a policy's text.
const fileMark = "# ---- "

// Names of files.
const (
	suffixHCL   = ".hf.hcl"
	suffixJSON  = ".hf.json"
	suffixAuto  = ".auto.hfvars"
	defaultVars = "holdfast.hfvars"
)

// maxFile bounds one policy file: larger ones are a mistake, and nesting could exhaust the stack.
const maxFile = 1 << 20

// readDir finds and reads the files of a configuration.
func readDir(dir string, o Options) (sources, diag.List) {
	var found sources
	var out diag.List
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return found, append(out, diag.NewError("", "Policy folder cannot be read", fmt.Sprintf("Read %s: %v. Name a folder with *%s files by -chdir.", dir, cause(err), suffixHCL)))
	}
	read := func(name string) (file, bool) {
		f := file{name: name}
		if f.src, err = os.ReadFile(name); err != nil {
			out = append(out, diag.NewError("", "File cannot be read", fmt.Sprintf("Read %s: %v.", name, cause(err))))
		}
		return f, err == nil
	}
	var auto []string
	for _, entry := range entries { // sorted by name
		name := entry.Name()
		full := filepath.Join(dir, name)
		switch {
		case entry.IsDir() || strings.HasPrefix(name, "."):
		case strings.HasSuffix(name, suffixHCL) || strings.HasSuffix(name, suffixJSON):
			if f, ok := read(full); ok {
				found.policies = append(found.policies, f)
			}
		case name == defaultVars:
			auto = append([]string{full}, auto...)
		case strings.HasSuffix(name, suffixAuto):
			auto = append(auto, full)
		case misnamed(name) != "":
			out = append(out, diag.NewWarning("", fmt.Sprintf("%s is not read", full), fmt.Sprintf("Its name looks like that of a policy file, and those end in %s or %s. Is %s meant? What only it declares is not declared.", suffixHCL, suffixJSON, misnamed(name))))
		}
	}
	for _, name := range append(auto, o.VarFiles...) {
		if f, ok := read(name); ok {
			found.variables = append(found.variables, f)
		}
	}
	if len(found.policies) == 0 && !out.HasErrors() {
		out = append(out, diag.NewError("", "No policy files", fmt.Sprintf("%s holds no *%s and no *%s file. Write one, or name another folder by -chdir.", dir, suffixHCL, suffixJSON)))
	}
	return found, out
}

// misnamed guesses the policy file that a name was meant for; empty when it looks like none.
func misnamed(name string) string {
	stem, end, ok := strings.Cut(name, ".hf.")
	if !ok || end == "hcl" || end == "json" || strings.HasSuffix(end, "~") { // editors leave main.hf.hcl~ beside the file
		return ""
	}
	if meant := nearest(end, []string{"hcl", "json"}); meant != "" {
		return stem + ".hf." + meant
	}
	return ""
}

// cause takes the operation and path out of a file system error; the caller names both.
func cause(err error) error {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // os returns it unwrapped
		return pe.Err
	}
	return err
}

// parse reads one file's syntax. The body is nil when nothing of it can be used.
func (r *reporter) parse(f file) hcl.Body {
	r.files[f.name] = f.src
	whole := place{rng: hcl.Range{Filename: f.name, Start: hcl.InitialPos, End: hcl.InitialPos}}
	if len(f.src) > maxFile {
		r.error(whole, "file_too_large", "File is too large", fmt.Sprintf("%s has %d bytes; a policy file has at most %d. Split it.", f.name, len(f.src), maxFile))
		return nil
	}
	src := bytes.TrimPrefix(f.src, []byte("\xef\xbb\xbf"))
	r.files[f.name] = src
	if rng, deep := tooDeep(src, f.name); deep {
		r.error(place{rng: rng}, "nesting", "Nesting is too deep", fmt.Sprintf("Expressions nest at most %d levels. Use locals to name the inner parts.", maxNesting))
		return nil
	}
	var parsed *hcl.File
	var ds hcl.Diagnostics
	if strings.HasSuffix(f.name, ".json") {
		parsed, ds = json.Parse(src, f.name)
	} else {
		parsed, ds = hclsyntax.ParseConfig(src, f.name, hcl.InitialPos)
	}
	r.hcl(ds, place{})
	if parsed == nil {
		return nil
	}
	return parsed.Body
}

// maxNesting bounds brackets, templates and runs of prefix operators: the parser is recursive, and a stack that overflows
// cannot be recovered from.
const maxNesting = 500

// tooDeep tells where brackets nest, or prefix operators follow each other, beyond maxNesting.
func tooDeep(src []byte, name string) (hcl.Range, bool) {
	if strings.HasSuffix(name, ".json") {
		return deepJSON(src, name)
	}
	tokens, _ := hclsyntax.LexConfig(src, name, hcl.InitialPos)
	depth, run, questions := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl, hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			depth, run = depth+1, 0
		case hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenTemplateSeqEnd, hclsyntax.TokenCQuote, hclsyntax.TokenCHeredoc:
			depth, run = depth-1, 0
		case hclsyntax.TokenBang, hclsyntax.TokenMinus:
			run++
		case hclsyntax.TokenQuestion:
			questions, run = questions+1, 0
		case hclsyntax.TokenNewline:
			if depth <= 0 {
				questions = 0
			}
		default:
			run = 0
		}
		if depth > maxNesting || run > maxNesting || questions > maxNesting {
			return t.Range, true
		}
	}
	return hcl.Range{}, false
}

func deepJSON(src []byte, name string) (hcl.Range, bool) {
	depth, inside := 0, false
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case inside && c == '\\':
			i++
		case c == '"':
			inside = !inside
		case inside:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		}
		if depth > maxNesting {
			p := hcl.Pos{Line: bytes.Count(src[:i], []byte{'\n'}) + 1, Column: 1, Byte: i}
			return hcl.Range{Filename: name, Start: p, End: p}, true
		}
	}
	return hcl.Range{}, false
}

// labelText writes a block's header as it stands in a file.
func labelText(typ string, labels []string) string {
	var b strings.Builder
	b.WriteString(typ)
	for _, l := range labels {
		fmt.Fprintf(&b, " %q", l)
	}
	return b.String()
}

// sortedKeys returns a map's keys in order.
func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
