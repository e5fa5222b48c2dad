package lang

import (
	"bytes"
	"fmt"
	"strings"
)

// Reference is docs/language.md: the reference of the language, written from the registry.
func Reference() []byte {
	var b bytes.Buffer
	b.WriteString(referenceIntro)
	later := []string{}
	for i := range registry {
		if registry[i].Unavailable {
			later = append(later, "`"+headerWords(&registry[i])+"`")
			continue
		}
		writeBlock(&b, &registry[i])
	}
	fmt.Fprintf(&b, "## Not available in this version\n\nThe language also has %s. They are known, and refused with a clear message.\n\n", list(later))
	b.WriteString("## Functions\n\n| function | |\n|---|---|\n")
	for _, f := range Schema().Functions {
		fmt.Fprintf(&b, "| `%s` | %s |\n", f.Name, cell(f.Doc))
	}
	return b.Bytes()
}

const referenceIntro = `<!-- Written from the schema by go test ./policy/lang -update. Do not edit. -->

# The policy language

Files ` + "`*.hf.hcl`" + ` (HCL) and ` + "`*.hf.json`" + ` (HCL's JSON syntax) of one folder are one configuration. ` + "`holdfast.hfvars`" + ` and
` + "`*.auto.hfvars`" + ` beside them give values to variables. ` + "`holdfast validate`" + ` reports every mistake in one run, without a network,
an environment or secrets.

## Expressions

- References are expressions, never texts: ` + "`source.postgres.app`, `store.primary`, `retention.standard`" + `. Everything an object says can be read
  through it: ` + "`store.primary.url`, `backup.app.objective.rpo`" + `; what is not written is its default, or null. ` + "`.address`" + ` is its address.
- ` + "`for_each`" + ` on a source or backup makes one instance for each element of a map or a set of strings. Inside, ` + "`each.key` and `each.value`" + `;
  outside, ` + "`source.postgres.app[\"eu\"]`" + ` or ` + "`source.postgres.app[each.key]`" + `. Keys hold letters, digits and ` + "`_ . @ : + -`" + `.
- In ` + "`*.hf.json`" + `, an expression is a text with ` + "`${…}`" + `: ` + "`\"store\": \"${store.primary}\"`" + `.
- Durations are texts: a number and ` + "`s`, `m`, `h`, `d` (24 hours) or `w` (7 days)" + `, also combined: ` + "`\"1d12h\"`" + `.
- Amounts of data are texts: ` + "`\"500GiB\"`, `\"1.5TB\"`" + `; rates are amounts per second: ` + "`\"50MiB/s\"`" + `.
- ` + "`expect`" + ` in a check of restored data is computed when there is an answer, and only then is there a ` + "`self`" + `: ` + "`self.value` and `self.rows`" + ` of a
  query, ` + "`self.count` and `self.bytes`" + ` of files, ` + "`self.points`, `self.vectors` and `self.status`" + ` of a collection. A result that is neither true nor false fails the check.
- The addresses in ` + "`moved` and `removed`" + ` are not computed: what they name need not exist any more.

## Secrets

Arguments marked *secret* below hold references: ` + "`env(\"X\")`, `file(\"path\")`" + ` or a sensitive variable. They are computed only when the secret
is used, each time anew, and never written to state, plan, JSON or logs; a missing variable or file is no error before that. A literal
password is an error. What ` + "`env`" + ` returns is sensitive: in other arguments write ` + "`nonsensitive(env(\"X\"))`" + `.

`

func writeBlock(b *bytes.Buffer, s *Block) {
	header := headerWords(s)
	if s.Named {
		header += ` "name"`
	}
	fmt.Fprintf(b, "## `%s`\n\n%s\n\n", header, s.Doc)
	if s.Example != "" {
		fmt.Fprintf(b, "```hcl\n%s\n```\n\n", s.Example)
	}
	writeArguments(b, s)
	writeInner(b, s, header)
}

// writeInner documents the blocks inside of a block, and those inside of them.
func writeInner(b *bytes.Buffer, s *Block, header string) {
	for i := range s.Blocks {
		sub := &s.Blocks[i]
		if sub.Unavailable {
			fmt.Fprintf(b, "### `%s` in `%s`\n\n%s Not available in this version.\n\n", sub.Type, header, sub.Doc)
			continue
		}
		fmt.Fprintf(b, "### `%s` in `%s`\n\n%s%s\n\n", sub.Type, header, sub.Doc, occurrence(sub))
		writeArguments(b, sub)
		writeInner(b, sub, sub.Type+"` in `"+header)
	}
}

func occurrence(s *Block) string {
	switch {
	case s.Required:
		return " Required."
	case s.Repeatable:
		return " May be repeated."
	default:
		return ""
	}
}

func writeArguments(b *bytes.Buffer, s *Block) {
	if len(s.Attributes) == 0 && !s.ForEach {
		return
	}
	b.WriteString("| argument | type | |\n|---|---|---|\n")
	if s.ForEach {
		fmt.Fprintf(b, "| `for_each` | %s | One instance for each element. |\n", TypeCollection)
	}
	for _, a := range s.Attributes {
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", a.Name, a.Type, cell(strings.Join(facts(a), " ")))
	}
	b.WriteString("\n")
}

// facts says everything the registry knows of an argument.
func facts(a Attribute) []string {
	out := []string{a.Doc}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if a.Unavailable {
		add("Not available in this version.")
	}
	if a.Required {
		add("Required.")
	}
	if a.Sensitive {
		add("*Secret.*")
	}
	if a.Reference != "" {
		noun := map[bool]string{false: "a `%s`", true: "`%s` blocks"}[a.Type == TypeReferences]
		add("Refers to "+noun+".", a.Reference)
	}
	if len(a.Enum) > 0 {
		add("One of `%s`.", strings.Join(a.Enum, "`, `"))
	}
	if a.Max > 0 {
		add("From %d to %d.", a.Min, a.Max)
	}
	if a.Default != "" {
		add("Default: `%s`.", a.Default)
	}
	return out
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
