package cli

import (
	"context"

	"github.com/holdfast-io/holdfast/policy/lang"
)

var schemaCommand = &command{
	name: "schema", group: "Author", summary: "Print the language: every block and attribute",
	usage: "[-json]",
	examples: `  holdfast schema
  holdfast schema -json > holdfast.schema.json`,
	define: func(a *app, _ *flags) func(context.Context, []string) error {
		return func(_ context.Context, args []string) error {
			if len(args) > 0 {
				return usageError("schema takes no arguments")
			}
			text := lang.Reference()
			if a.json {
				var err error
				if text, err = lang.SchemaJSON(); err != nil {
					return err
				}
			}
			_, err := a.out.Write(text)
			return err
		}
	},
}
