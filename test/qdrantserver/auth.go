package qdrantserver

import (
	"strings"
)

// role is what a key allows.
type role int

const (
	roleNone role = iota
	roleRead
	roleManage
)

// roleOf says what a caller may do, or why they may do nothing. The api-key header wins over the Authorization header.
func (c *Cluster) roleOf(apiKey, authorization string, sent bool) (role, string) {
	if c.opts.APIKey == "" && c.opts.ReadOnlyKey == "" {
		return roleManage, ""
	}
	key := apiKey
	if !sent {
		var bearer bool
		if key, bearer = strings.CutPrefix(authorization, "Bearer "); !bearer {
			return roleNone, "Must provide an API key or an Authorization bearer token"
		}
	}
	switch {
	case key == c.opts.APIKey && c.opts.APIKey != "":
		return roleManage, ""
	case key == c.opts.ReadOnlyKey && c.opts.ReadOnlyKey != "":
		return roleRead, ""
	}
	return roleNone, "Invalid API key or JWT"
}

// mayWrite refuses whoever has only the read-only key.
func (r role) mayWrite() error {
	if r == roleManage {
		return nil
	}
	return forbidden("Global manage access is required")
}
