// Package lang turns policy files into policy values: *.hf.hcl and *.hf.json in, a policy.Set and diagnostics out.
//
// It is the only importer of HCL and cty. It contacts nothing: it reads the files of one directory, variable values and,
// through Options, the environment. It is not the place of decisions: what is due or expires belongs to the planner.
//
// One registry (registry.go) describes each block and attribute once; decoding, diagnostics, the schema, the JSON Schema and
// docs/language.md all come from it.
//
// Invariants: all independent errors are reported in one run; no diagnostic, reference text or encoded value ever holds a
// sensitive value; attributes marked sensitive are computed only by policy.Secret.Reveal.
package lang

import (
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"

	"github.com/holdfast-io/holdfast/internal/diag"
	"github.com/holdfast-io/holdfast/policy"
)

// Options say where variable values, the environment and files come from. The zero value has an empty environment.
type Options struct {
	VarFiles []string                     // -var-file, in order
	Vars     map[string]string            // -var name=value; wins over every file
	Env      func(string) (string, bool)  // nil: no variable is set
	ReadFile func(string) ([]byte, error) // for file(); nil: os.ReadFile. Relative names are joined to the directory first
	Version  string                       // holdfast's own, for required_version; empty: not checked
	// Static is what validate wants: a missing environment variable, file or variable value is unknown instead of an error,
	// and checks that depend on it are left out.
	Static bool
}

// Result is what the files say. After errors it holds what could still be understood, for diagnostics only.
type Result struct {
	Set    policy.Set
	Files  []string              // as they were found, policy files and then variable files
	Ranges map[string]diag.Range // where each object is declared, by address
	// Sensitive returns the sensitive values known so far, so that a redactor can hide them. It is safe for concurrent use.
	Sensitive func() []string
}

// Load reads the configuration in dir: every *.hf.hcl and *.hf.json file, holdfast.hfvars and *.auto.hfvars.
func Load(dir string, o Options) (*Result, diag.List) {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	if o.Env == nil {
		o.Env = func(string) (string, bool) { return "", false }
	}
	found, list := readDir(dir, o)
	if list.HasErrors() && len(found.policies) == 0 {
		return &Result{Sensitive: func() []string { return nil }}, list
	}
	res, more := load(dir, found, o)
	return res, append(list, more...)
}

// load does everything but finding files, so that tests can hand in any bytes.
func load(dir string, found sources, o Options) (*Result, diag.List) {
	r := newReporter()
	cfg := &config{dir: dir, options: o, report: r, nodes: map[string]*node{}, secrets: &recorder{}, met: &recorder{}}
	for _, f := range found.policies {
		cfg.addFile(f)
	}
	cfg.addVariables(found.variables)
	e := newEvaluator(cfg, modeLoad)
	e.evaluateAll()
	e.validateVariables()
	res := &Result{Files: found.names(), Ranges: cfg.ranges(e), Sensitive: cfg.secrets.values}
	b := &builder{eval: e, config: cfg, set: &res.Set}
	b.build()
	res.Set.Text = append(found.text(), cfg.valuesText()...)
	return res, scrub(r.sorted(), append(cfg.secrets.values(), cfg.met.values()...))
}

// ranges tells where each declared object stands.
func (c *config) ranges(e *evaluator) map[string]diag.Range {
	out := map[string]diag.Range{}
	for _, o := range e.allObjects() {
		out[o.address] = toRange(o.node.declared)
	}
	for _, n := range c.rules {
		out[n.address] = toRange(n.declared)
	}
	return out
}

// base joins a name written in the policy to the policy's folder.
func (c *config) base(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.dir, name)
}

func toRange(r hcl.Range) diag.Range {
	return diag.Range{
		Filename: r.Filename,
		Start:    diag.Pos{Line: r.Start.Line, Column: r.Start.Column, Byte: r.Start.Byte},
		End:      diag.Pos{Line: r.End.Line, Column: r.End.Column, Byte: r.End.Byte},
	}
}
