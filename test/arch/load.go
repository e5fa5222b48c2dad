package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Load reads every package of the module whose root is the folder root: their imports and uses as written, whatever
// system their files are for.
func Load(root string) ([]Package, error) {
	// -e: what does not compile is the compiler's to say; the law holds for it all the same.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w: %s", err, stderr.String())
	}
	var packages []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l struct {
			ImportPath, Dir                   string
			GoFiles, CgoFiles, IgnoredGoFiles []string
		}
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		p := Package{Path: relative(l.ImportPath)}
		for _, name := range slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles) {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			if err := p.add(filepath.Join(l.Dir, name), path.Join(p.Path, name)); err != nil {
				return nil, err
			}
		}
		slices.Sort(p.Imports)
		p.Imports = slices.Compact(p.Imports)
		packages = append(packages, p)
	}
}

// add takes in one file. The name is what findings call it.
func (p *Package) add(file, name string) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	local := map[string]string{} // name in the file → import path
	for _, i := range f.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		p.Imports = append(p.Imports, imported)
		if i.Name != nil {
			local[i.Name.Name] = imported
		} else {
			local[path.Base(imported)] = imported
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && local[x.Name] != "" {
			pos := fmt.Sprintf("%s:%d", name, fset.Position(s.Pos()).Line)
			p.Uses = append(p.Uses, Selector{local[x.Name], s.Sel.Name, pos})
		}
		return true
	})
	return nil
}
