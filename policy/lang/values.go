package lang

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// valuesText writes the variable values that were given from outside as a variable file, so that the policy text alone can
// be evaluated again. Sensitive variables are named, without their value.
func (c *config) valuesText() []byte {
	out := hclwrite.NewEmptyFile()
	var hidden bytes.Buffer
	written := 0
	for _, name := range sortedKeys(c.given) {
		n := c.nodes["var."+name]
		switch {
		case n == nil:
		case maybeSensitive(n) || c.given[name].value.IsMarked() || !c.given[name].value.IsWhollyKnown():
			fmt.Fprintf(&hidden, "# %s is sensitive: give it by %s%s\n", name, envPrefix, name)
		default:
			out.Body().SetAttributeValue(name, c.given[name].value)
			written++
		}
	}
	if written == 0 && hidden.Len() == 0 {
		return nil
	}
	return append(append([]byte(fileMark+defaultVars+"\n"), hidden.Bytes()...), out.Bytes()...)
}

// maybeSensitive is true unless the variable says that it is not.
func maybeSensitive(n *node) bool {
	a := n.attrs["sensitive"]
	if a == nil {
		return false
	}
	v, ds := a.Expr.Value(nil)
	return ds.HasErrors() || !v.RawEquals(cty.False)
}
