package state

import "time"

// Verified tells whether any copy has a good proof of at least one level and no newer failed one.
func (p RestorePoint) Verified() bool {
	for _, c := range p.Copies {
		if c.Verified() {
			return !p.Incomplete
		}
	}
	return false
}

// Verified tells whether the newest proof of the copy is good.
func (c Copy) Verified() bool {
	newest := Proof{}
	for _, p := range c.Proofs {
		if p.At.After(newest.At) || (p.At.Equal(newest.At) && !p.OK) {
			newest = p
		}
	}
	return newest.OK
}

// Damaged tells whether the copy was read back and the newest proof failed.
func (c Copy) Damaged() bool { return len(c.Proofs) > 0 && !c.Verified() }

// Broken tells whether stored bytes of the copy are known to be damaged: the newest proof failed, and it was not one that
// failed only when it was restored (level restore), where nothing stored was damaged.
func (c Copy) Broken() bool {
	var newest *Proof // catalogs hold millions of proofs: nothing is copied
	for i := range c.Proofs {
		p := &c.Proofs[i]
		if !p.OK && p.Level == "restore" {
			continue
		}
		if newest == nil || p.At.After(newest.At) || p.At.Equal(newest.At) && !p.OK {
			newest = p
		}
	}
	return newest != nil && !newest.OK
}

// Sound returns the first copy that is not damaged, preferring verified ones; ok is false when there is none.
func (p RestorePoint) Sound() (sound Copy, ok bool) {
	for _, c := range p.Copies {
		if c.Verified() {
			return c, true
		}
		if !c.Damaged() && !ok {
			sound, ok = c, true
		}
	}
	return sound, ok
}

// In returns the copy in a store.
func (p RestorePoint) In(store string) (c Copy, ok bool) {
	for _, c := range p.Copies {
		if c.Store == store {
			return c, true
		}
	}
	return Copy{}, false
}

// Stored returns the address that a repository knows the point by; address is its backup's today.
func (p RestorePoint) Stored(address string) string {
	if p.StoredAs != "" {
		return p.StoredAs
	}
	return address
}

// LastProof is when some copy of the points was last proven at a level; zero when none ever was.
func LastProof(points []RestorePoint, level string) (last time.Time) {
	for i := range points {
		for j := range points[i].Copies {
			for _, proof := range points[i].Copies[j].Proofs {
				if proof.OK && proof.Level == level && proof.At.After(last) {
					last = proof.At
				}
			}
		}
	}
	return last
}
