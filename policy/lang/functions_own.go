package lang

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/holdfast-io/holdfast/policy"
)

var durationFunc = textToText(func(s string) (string, error) {
	d, err := policy.ParseDuration(s)
	return d.String(), err
})

var bytesFunc = function.New(&function.Spec{
	Params:       []function.Parameter{{Name: "text", Type: cty.String}},
	Type:         function.StaticReturnType(cty.Number),
	RefineResult: notNull,
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		n, err := policy.ParseBytes(args[0].AsString())
		return cty.NumberIntVal(n), err
	},
})

var secondsFunc = function.New(&function.Spec{
	Params:       []function.Parameter{{Name: "text", Type: cty.String}},
	Type:         function.StaticReturnType(cty.Number),
	RefineResult: notNull,
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		d, err := policy.ParseDuration(args[0].AsString())
		return cty.NumberFloatVal(d.Std().Seconds()), err
	},
})

// quickTo is stdlib's conversion to a list or a set of anything, without its comparison of all pairs of element types where
// all are the same primitive: that takes seconds for ten thousand names.
func quickTo(of func(cty.Type) cty.Type, build func([]cty.Value) cty.Value) function.Function {
	slow := stdlib.MakeToFunc(of(cty.DynamicPseudoType))
	return function.New(&function.Spec{
		Params: []function.Parameter{{
			Name: "v", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowDynamicType: true, AllowMarked: true,
		}},
		Type: func(args []cty.Value) (cty.Type, error) {
			if t, ok := sameElements(args[0]); ok {
				return of(t), nil
			}
			return slow.ReturnTypeForValues(args)
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if _, ok := sameElements(args[0]); ok {
				return build(args[0].AsValueSlice()), nil
			}
			return slow.Call(args)
		},
	})
}

// sameElements returns the type of a tuple's elements when it is one primitive type.
func sameElements(v cty.Value) (cty.Type, bool) {
	if v.IsMarked() || !v.IsKnown() || v.IsNull() || !v.Type().IsTupleType() || v.LengthInt() == 0 {
		return cty.NilType, false
	}
	types := v.Type().TupleElementTypes()
	if !types[0].IsPrimitiveType() {
		return cty.NilType, false
	}
	for _, t := range types {
		if t != types[0] {
			return cty.NilType, false
		}
	}
	return types[0], true
}

// envFunc reads the environment. What is not set is unknown and remembers why: only where the value is used does that
// become an error, and in a sensitive argument only when the secret is revealed.
func (e *evaluator) envFunc() function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "name", Type: cty.String}},
		VarParam: &function.Parameter{Name: "default", Type: cty.String, AllowNull: true},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name := args[0].AsString()
			if len(args) > 2 {
				return cty.UnknownVal(cty.String), fmt.Errorf("env takes a name and at most one default")
			}
			mark := &secret{name: fmt.Sprintf("env(%q)", name)}
			if e.mode == modeProbe {
				return cty.UnknownVal(cty.String).Mark(mark), nil
			}
			if text, ok := e.config.options.Env(name); ok {
				mark.value = text
				e.config.met.add(text)
				return cty.StringVal(text).Mark(mark), nil
			}
			if len(args) == 2 {
				return args[1].Mark(mark), nil
			}
			return cty.UnknownVal(cty.String).Mark(mark).Mark(&missing{
				summary: fmt.Sprintf("Environment variable %s is not set", name),
				detail:  fmt.Sprintf("Set it, or give a default: env(%q, \"…\").", name),
			}), nil
		},
	})
}

// maxReadFile bounds what file() reads into an expression.
const maxReadFile = 1 << 20

func (e *evaluator) fileFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name := args[0].AsString()
			mark := &secret{name: fmt.Sprintf("file(%q)", name)}
			if e.mode == modeProbe {
				return cty.UnknownVal(cty.String).Mark(mark), nil
			}
			src, err := e.config.options.ReadFile(e.config.base(name))
			switch {
			case err != nil:
				return cty.UnknownVal(cty.String).Mark(&missing{
					summary: fmt.Sprintf("File %s cannot be read", name),
					detail:  fmt.Sprintf("Read %s: %v. Paths are relative to the policy's folder.", e.config.base(name), cause(err)),
				}), nil
			case len(src) > maxReadFile:
				return cty.UnknownVal(cty.String), fmt.Errorf("%s has %d bytes; file() reads at most %d", name, len(src), maxReadFile)
			case !utf8.Valid(src):
				return cty.UnknownVal(cty.String), fmt.Errorf("%s is not text", name)
			}
			if e.mode == modeReveal {
				mark.value = strings.TrimRight(string(src), "\r\n")
				return cty.StringVal(string(src)).Mark(mark), nil
			}
			return cty.StringVal(string(src)), nil
		},
	})
}

func (e *evaluator) pathExpandFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			p := args[0].AsString()
			rest, tilde := strings.CutPrefix(p, "~")
			if !tilde || rest != "" && !strings.HasPrefix(rest, "/") {
				return args[0], nil
			}
			home, ok := e.config.options.Env("HOME")
			if !ok {
				return cty.UnknownVal(cty.String).Mark(&missing{summary: "The home folder is not known", detail: "Set HOME, or write the whole path."}), nil
			}
			return cty.StringVal(filepath.Join(home, rest)), nil
		},
	})
}

// sensitiveFunc marks. When probing it does not, so that a literal inside is found.
func (e *evaluator) sensitiveFunc() function.Function {
	return e.passThrough(func(v cty.Value) cty.Value {
		if e.mode == modeProbe {
			return v
		}
		return v.Mark(&secret{name: "sensitive(…)", value: plainText(v)})
	})
}

func (e *evaluator) nonsensitiveFunc() function.Function {
	return e.passThrough(func(v cty.Value) cty.Value {
		if e.mode == modeProbe {
			return v
		}
		e.config.met.remove(v)
		return dropSecrets(v)
	})
}

func (e *evaluator) passThrough(f func(cty.Value) cty.Value) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true, AllowUnknown: true, AllowMarked: true, AllowDynamicType: true}},
		Type:   func(args []cty.Value) (cty.Type, error) { return args[0].Type(), nil },
		Impl:   func(args []cty.Value, _ cty.Type) (cty.Value, error) { return f(args[0]), nil },
	})
}
