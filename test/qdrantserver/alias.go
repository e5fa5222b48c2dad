package qdrantserver

import (
	"maps"
	"slices"
)

func (r *request) listAliases() {
	r.answer(r.n.c.locked(func() (any, error) { return r.n.c.aliasesOf(""), nil }))
}

// getAliases takes the name as it is: an alias has no aliases, and neither has what does not exist.
func (r *request) getAliases() {
	r.answer(r.n.c.locked(func() (any, error) { return r.n.c.aliasesOf(r.args[0]), nil }))
}

// aliasesOf are the aliases of a collection, or all of them.
func (c *Cluster) aliasesOf(name string) object {
	list := []object{}
	for _, alias := range slices.Sorted(maps.Keys(c.aliases)) {
		if name == "" || c.aliases[alias] == name {
			list = append(list, object{"alias_name": alias, "collection_name": c.aliases[alias]})
		}
	}
	return object{"aliases": list}
}

type aliasActions struct {
	Actions []struct {
		Create *struct {
			Collection string `json:"collection_name"`
			Alias      string `json:"alias_name"`
		} `json:"create_alias"`
		Delete *struct {
			Alias string `json:"alias_name"`
		} `json:"delete_alias"`
		Rename *struct {
			Old string `json:"old_alias_name"`
			New string `json:"new_alias_name"`
		} `json:"rename_alias"`
	} `json:"actions"`
}

// postAliases carries out one action after the other. Those before one that fails stay carried out.
func (r *request) postAliases() {
	var body aliasActions
	err := r.body(&body)
	if err == nil {
		err = r.role.mayWrite()
	}
	if err != nil {
		r.fail(err)
		return
	}
	c := r.n.c
	r.answer(c.locked(func() (any, error) {
		for _, a := range body.Actions {
			switch {
			case a.Create != nil:
				if _, ok := c.collections[a.Create.Collection]; !ok {
					return nil, notFound("Collection `%s` doesn't exist!", a.Create.Collection)
				}
				if _, taken := c.collections[a.Create.Alias]; taken {
					return nil, fail(kindExists, "Collection `%s` already exists!", a.Create.Alias)
				}
				c.aliases[a.Create.Alias] = a.Create.Collection
			case a.Delete != nil:
				delete(c.aliases, a.Delete.Alias)
			case a.Rename != nil:
				target, ok := c.aliases[a.Rename.Old]
				if !ok {
					return nil, notFound("Alias %s does not exists!", a.Rename.Old)
				}
				delete(c.aliases, a.Rename.Old)
				c.aliases[a.Rename.New] = target
			default:
				return nil, fail(kindFormat, "Format error in JSON body: data did not match any variant of untagged enum AliasOperations")
			}
		}
		return true, nil
	}))
}
