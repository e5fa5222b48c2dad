package cli

import (
	"context"
	"fmt"
	"net/url"
	"runtime"
)

var versionCommand = &command{
	name: "version", group: "Author", summary: "Print the version",
	usage:    "[-json]",
	examples: "  holdfast version",
	define: func(a *app, _ *flags) func(context.Context, []string) error {
		return func(context.Context, []string) error {
			if a.json {
				return a.out.Document(map[string]any{
					"format_version": "1.0", "holdfast_version": a.Version, "go_version": runtime.Version(), "platform": runtime.GOOS + "_" + runtime.GOARCH,
				})
			}
			fmt.Fprintf(a.out, "holdfast %s (%s, %s/%s)\n", a.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		}
	},
}

// passwordOf returns the password inside a URL, or nothing.
func passwordOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return ""
	}
	p, _ := u.User.Password()
	return p
}
