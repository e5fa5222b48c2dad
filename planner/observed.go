package planner

// Observed is what a refresh saw of the world. Absent stores and sources were not looked at.
type Observed struct {
	Mode    string // list, deep; empty for none
	Stores  map[string]ObservedStore
	Sources map[string]ObservedSource
}

// ObservedStore is what was seen of a store.
type ObservedStore struct {
	Err                 string // it could not be looked at; nothing else is known then
	Repository          string // id of the repository in it; empty when there is none
	Recipients, Writers []string
	Points              []ObservedPoint
	Damage              []ObservedDamage
	Unknown             []string // objects that belong to nothing
	Bytes               int64    // everything stored
	Versioning          *bool    // nil where the store does not tell
	ObjectLock          *bool
}

// ObservedPoint is a restore point whose manifest is in a store.
type ObservedPoint struct {
	Address, ID string
	Summary     bool // its summary is there too
}

// ObservedDamage is an object that is not what it should be, and the points that need it, as "address/id".
type ObservedDamage struct {
	Object, Problem string
	Points          []string
}

// ObservedSource is what was seen of a source.
type ObservedSource struct {
	Err      string // it could not be looked at
	Version  string
	Identity string
	Names    []string            // databases or collections
	Gaps     []string            // what of it no backup could reach, as its executor says
	Lacks    map[string][]string // by backup address: how the source must be set up for it, as its executor says
}
