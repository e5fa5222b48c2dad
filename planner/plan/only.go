package plan

import "slices"

// OnlyDrift is the part of a plan that tells of the world: nothing changes and nothing is done by it.
func OnlyDrift(p Plan) Plan {
	p.Changes, p.Actions, p.Windows, p.Blocks = []Change{}, []Action{}, []Window{}, nil
	p.Fingerprint, p.Versions = Fingerprint(p), nil
	return p
}

// Violations counts the house rules that do not hold.
func Violations(p Plan) int {
	n := 0
	for _, c := range p.Checks {
		if c.Status != "pass" {
			n++
		}
	}
	return n
}

// Approved is the plan without the guards that its being approved by name lifts.
func Approved(p Plan) Plan {
	p.Blocks = slices.DeleteFunc(slices.Clone(p.Blocks), func(b Block) bool { return b.Guard.Approvable() })
	if len(p.Blocks) == 0 {
		p.Blocks = nil
	}
	return p
}

// Withheld tells whether guards of deletion are all that blocks the plan: the rest of it may be done.
func Withheld(p Plan) bool {
	return len(p.Blocks) > 0 && !slices.ContainsFunc(p.Blocks, func(b Block) bool { return !b.Guard.Deletion() })
}

// WithoutDeletions is the plan without what takes restore points or WAL away, and without the changes that are the cause, so that
// they stay to be decided.
func WithoutDeletions(p Plan) Plan {
	p.Actions = slices.DeleteFunc(slices.Clone(p.Actions), func(a Action) bool { return a.Kind.Destructive() || a.Kind == Prune })
	p.Changes = slices.DeleteFunc(slices.Clone(p.Changes), func(c Change) bool { return c.Points > 0 || c.Kind == Destroy })
	p.Blocks = nil
	p.Fingerprint = Fingerprint(p)
	return p
}
