package postgres

import (
	"slices"
	"strings"

	"github.com/holdfast-io/holdfast/executors/postgres/archive"
)

// selection is a part of a dump: chosen relations with all that belongs to them. pg_restore's own --table would leave
// indexes, constraints, triggers and sequences behind.
type selection struct {
	head      archive.Head
	byID      map[int]archive.Entry
	ids       map[int]bool
	relations []archive.Entry // chosen, in the archive's order
	supports  []archive.Entry // schemas, types, functions, extensions the chosen ones need
	needs     []need          // relations that chosen ones need and that were not chosen
	links     []link          // foreign keys and partition links to relations that were not chosen
}

// need says that one entry cannot be made without another.
type need struct{ by, on archive.Entry }

// link is an entry that can be left out when what it points to is absent.
type link struct{ entry, to archive.Entry }

// isRelation tells the kinds of entries that a person calls a table, and may name.
func isRelation(e archive.Entry) bool {
	switch e.Desc {
	case "TABLE", "VIEW", "MATERIALIZED VIEW", "SEQUENCE", "FOREIGN TABLE":
		return true
	}
	return false
}

// isSupport tells the kinds of entries that a relation's definition may rest on.
func isSupport(e archive.Entry) bool {
	switch e.Desc {
	case "SCHEMA", "EXTENSION", "TYPE", "SHELL TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "AGGREGATE", "OPERATOR",
		"OPERATOR CLASS", "OPERATOR FAMILY", "COLLATION", "CAST", "TRANSFORM", "CONVERSION", "PROCEDURAL LANGUAGE",
		"FOREIGN DATA WRAPPER", "SERVER", "ACCESS METHOD":
		return true
	}
	return strings.HasPrefix(e.Desc, "TEXT SEARCH ")
}

func relationName(e archive.Entry) string { return e.Namespace + "." + e.Tag }

// relationNames lists what can be chosen.
func relationNames(head archive.Head) []string {
	var names []string
	for _, e := range head.Entries {
		if isRelation(e) {
			names = append(names, relationName(e))
		}
	}
	slices.Sort(names)
	return names
}

// selectRelations chooses the relations a glob matches and everything that belongs to them.
func selectRelations(head archive.Head, match func(name string) bool) selection {
	s := selection{head: head, byID: map[int]archive.Entry{}, ids: map[int]bool{}}
	for _, e := range head.Entries {
		s.byID[e.ID] = e
		if isRelation(e) && match(relationName(e)) {
			s.ids[e.ID] = true
		}
	}
	if len(s.ids) == 0 {
		return s
	}
	for s.grow() {
	}
	s.support()
	for _, e := range head.Entries {
		if s.ids[e.ID] && isRelation(e) {
			s.relations = append(s.relations, e)
		}
	}
	s.lookOutside()
	return s
}

// grow adds what belongs to chosen entries, once around; it tells whether there was anything.
func (s *selection) grow() bool {
	before := len(s.ids)
	for _, e := range s.head.Entries {
		if s.ids[e.ID] {
			continue
		}
		switch e.Desc {
		case "TABLE ATTACH": // a chosen partitioned table brings its partitions
			if s.anyDep(e) {
				s.addNamed(e)
				s.setIf(e, s.allRelationsChosen(e))
			}
		case "SEQUENCE": // of a serial or identity column; others depend on no table
			s.setIf(e, s.anyDep(e))
		case "INDEX ATTACH":
			s.setIf(e, len(e.Deps) > 0 && s.allDeps(e))
		case "SEQUENCE OWNED BY", "INDEX", "STATISTICS", "COMMENT", "ACL", "SECURITY LABEL":
			s.setIf(e, s.anyDep(e))
		case "TABLE DATA", "MATERIALIZED VIEW DATA", "SEQUENCE SET", "ROW SECURITY":
			s.setIf(e, s.ownerChosen(e, func(rel archive.Entry) bool { return rel.Tag == e.Tag }))
		case "FK CONSTRAINT":
			s.setIf(e, s.memberOfChosen(e) && s.allRelationsChosen(e))
		case "CONSTRAINT", "CHECK CONSTRAINT", "DEFAULT", "TRIGGER", "RULE", "POLICY":
			s.setIf(e, s.memberOfChosen(e))
		}
	}
	return len(s.ids) > before
}

func (s *selection) setIf(e archive.Entry, chosen bool) {
	if chosen {
		s.ids[e.ID] = true
	}
}

// addNamed chooses the relation that has the entry's own name.
func (s *selection) addNamed(e archive.Entry) {
	for _, id := range e.Deps {
		if rel, ok := s.byID[id]; ok && isRelation(rel) && rel.Namespace == e.Namespace && rel.Tag == e.Tag {
			s.ids[id] = true
		}
	}
}

func (s *selection) anyDep(e archive.Entry) bool {
	return slices.ContainsFunc(e.Deps, func(id int) bool { return s.ids[id] })
}

func (s *selection) allDeps(e archive.Entry) bool {
	return !slices.ContainsFunc(e.Deps, func(id int) bool { return !s.ids[id] })
}

func (s *selection) allRelationsChosen(e archive.Entry) bool {
	return !slices.ContainsFunc(e.Deps, func(id int) bool {
		rel, ok := s.byID[id]
		return ok && isRelation(rel) && !s.ids[id]
	})
}

// ownerChosen tells whether an entry depends on a chosen relation of its schema that is its own.
func (s *selection) ownerChosen(e archive.Entry, own func(rel archive.Entry) bool) bool {
	return slices.ContainsFunc(e.Deps, func(id int) bool {
		rel, ok := s.byID[id]
		return ok && s.ids[id] && isRelation(rel) && rel.Namespace == e.Namespace && own(rel)
	})
}

// memberOfChosen is ownerChosen for entries tagged "relation member".
func (s *selection) memberOfChosen(e archive.Entry) bool {
	return s.ownerChosen(e, func(rel archive.Entry) bool { return strings.HasPrefix(e.Tag, rel.Tag+" ") })
}

// support collects what the chosen entries rest on, down to the ground.
func (s *selection) support() {
	seen := map[int]bool{}
	var visit func(e archive.Entry)
	visit = func(e archive.Entry) {
		for _, id := range e.Deps {
			if dep, ok := s.byID[id]; ok && isSupport(dep) && !seen[id] {
				seen[id] = true
				visit(dep)
			}
		}
		for _, schema := range s.head.Entries {
			if schema.Desc == "SCHEMA" && schema.Tag == e.Namespace && !seen[schema.ID] {
				seen[schema.ID] = true
			}
		}
	}
	for _, e := range s.head.Entries {
		if s.ids[e.ID] {
			visit(e)
		}
	}
	for _, e := range s.head.Entries {
		if seen[e.ID] {
			s.supports = append(s.supports, e)
		}
	}
}

// lookOutside finds what points from the chosen entries to relations that were not chosen.
func (s *selection) lookOutside() {
	for _, e := range s.head.Entries {
		if !s.ids[e.ID] && (e.Desc != "FK CONSTRAINT" && e.Desc != "TABLE ATTACH" || !s.pointsOut(e)) {
			continue
		}
		for _, id := range e.Deps {
			rel, ok := s.byID[id]
			if !ok || !isRelation(rel) || s.ids[id] {
				continue
			}
			if s.ids[e.ID] {
				if s.attaches(e, rel) {
					continue
				}
				s.needs = append(s.needs, need{e, rel})
			} else {
				s.links = append(s.links, link{e, rel})
			}
		}
	}
}

// attaches tells whether a partition is made on its own and attached later: it can live without its parent.
func (s *selection) attaches(child, parent archive.Entry) bool {
	return slices.ContainsFunc(s.head.Entries, func(e archive.Entry) bool {
		return e.Desc == "TABLE ATTACH" && slices.Contains(e.Deps, child.ID) && slices.Contains(e.Deps, parent.ID)
	})
}

// pointsOut tells whether a link that is not chosen belongs to a chosen relation.
func (s *selection) pointsOut(e archive.Entry) bool {
	if e.Desc == "TABLE ATTACH" {
		return s.ownerChosen(e, func(rel archive.Entry) bool { return rel.Tag == e.Tag })
	}
	return s.memberOfChosen(e)
}

// withSupport returns the ids to restore: the chosen ones and the given supports with their comments and grants, in the
// archive's order.
func (s *selection) withSupport(supports []archive.Entry, links []archive.Entry) []int {
	add := map[int]bool{}
	for _, e := range supports {
		add[e.ID] = true
	}
	var out []int
	for _, e := range s.head.Entries {
		extra := (e.Desc == "ACL" || e.Desc == "COMMENT") && slices.ContainsFunc(e.Deps, func(id int) bool { return add[id] })
		linked := slices.ContainsFunc(links, func(l archive.Entry) bool { return l.ID == e.ID })
		if s.ids[e.ID] || add[e.ID] || extra || linked {
			out = append(out, e.ID)
		}
	}
	return out
}
