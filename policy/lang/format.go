package lang

import (
	"bytes"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"

	"github.com/holdfast-io/holdfast/internal/diag"
)

// Format returns the canonical form of a policy or variable file: aligned and indented as HCL does it, no blank lines at
// the ends or twice in a row, line ends of Unix, one newline at the end. Formatting twice changes nothing more. JSON files
// come back as they are. A file that does not parse comes back as it is, with diagnostics.
func Format(src []byte, filename string) ([]byte, diag.List) {
	r := newReporter()
	if r.parse(file{name: filename, src: src}); r.list.HasErrors() {
		return src, r.sorted()
	}
	if strings.HasSuffix(filename, ".json") {
		return src, nil
	}
	out := bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	for range maxPasses {
		next := squeeze(hclwrite.Format(out), filename)
		if bytes.Equal(next, out) {
			break
		}
		out = next
	}
	return out, nil
}

// maxPasses bounds the search for a fixed point: rarely the library's second pass moves what its first one joined.
const maxPasses = 8

// squeeze rewrites the newlines between tokens; those inside of strings and heredocs are content and stay.
func squeeze(src []byte, filename string) []byte {
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	var out bytes.Buffer
	newlines, end := 2, 0 // as if two stood before: none are written at the beginning
	for _, t := range tokens {
		gap := src[end:t.Range.Start.Byte]
		end = t.Range.End.Byte
		text := t.Bytes
		if t.Type == hclsyntax.TokenNewline {
			if newlines < 2 {
				out.WriteByte('\n')
			}
			newlines++
			continue
		}
		if t.Type == hclsyntax.TokenEOF {
			break
		}
		out.Write(gap)
		newlines = 0
		if t.Type == hclsyntax.TokenComment && bytes.HasSuffix(text, []byte("\n")) {
			out.Write(bytes.TrimRight(text, " \t\r\n"))
			out.WriteByte('\n')
			newlines = 1
			continue
		}
		if t.Type == hclsyntax.TokenCHeredoc || t.Type == hclsyntax.TokenStringLit {
			newlines = 0
		}
		out.Write(text)
	}
	result := out.Bytes()
	for bytes.HasSuffix(result, []byte("\n\n")) {
		result = result[:len(result)-1]
	}
	if len(result) > 0 && !bytes.HasSuffix(result, []byte("\n")) {
		result = append(result, '\n')
	}
	return result
}
