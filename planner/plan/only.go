package plan

// OnlyDrift is the part of a plan that tells of the world: nothing changes and nothing is done by it.
func OnlyDrift(p Plan) Plan {
	p.Changes, p.Actions, p.Windows, p.Blocks = []Change{}, []Action{}, []Window{}, nil
	p.Fingerprint, p.Versions = Fingerprint(p), nil
	return p
}
