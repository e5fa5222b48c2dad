package planner

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/planner/plan"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// clockSlack is how far in the future a restore point may lie before the clocks of two hosts are said to differ.
const clockSlack = 5 * time.Minute

func (p *planner) drifted(d plan.Drift) { p.out.Drift = append(p.out.Drift, d) }

// driftOf tells where a declared backup differs from what the policy promises, as the catalog alone shows it. What is
// simply due now is none: an action of this plan says so.
func (p *planner) driftOf(w *work, gone []leaver) {
	applied, known := p.in.Catalog.Objects[w.address]
	if !known || applied.Forgotten {
		return
	}
	p.missedSlot(w)
	p.breach(w)
	p.walGap(w)
	p.hurtCopies(w, gone)
	p.overdueExpiry(w, gone)
	p.floor(w)
	p.overdueProof(w)
	p.overdueRehearsal(w)
	if n := len(w.points); n > 0 && w.points[n-1].Time.Sub(p.now) > clockSlack {
		p.drifted(plan.Drift{
			Address: w.address, Reason: plan.DriftClock, Point: w.points[n-1].ID, Since: w.points[n-1].Time,
			Why: "its newest restore point is " + formatAge(w.points[n-1].Time.Sub(p.now)) + " in the future: the clock of the host that made it, or of this one, is wrong",
		})
	}
	for _, store := range w.backup.Copies {
		if d := p.debts[recoverKey(w.address, store)]; d != nil {
			p.owed(w, store, d)
		}
	}
}

// owed tells what a further store lacks since an earlier run.
func (p *planner) owed(w *work, store string, d *debt) {
	_, applied := p.byAddress[w.address]
	if _, made := p.initialize[store]; (applied || made) && d.sealed == 0 && d.lost == 0 {
		return // it was just declared: nothing is late
	}
	why := count(d.points, "restore point") + " waiting for " + store + ", the oldest of " + formatTime(d.oldest)
	if d.sealed > 0 {
		why += fmt.Sprintf("; %d have other recipients, and this host has no key to seal them anew", d.sealed)
	}
	if d.lost > 0 {
		why += fmt.Sprintf("; of %d there is no good copy to bring", d.lost)
	}
	down := p.in.Observed.Stores[store].Err != ""
	if down {
		why += "; " + store + " could not be reached"
	}
	p.drifted(plan.Drift{
		Address: w.address, Store: store, Reason: plan.DriftCopyMissing, Bytes: d.bytes, Since: d.oldest, Why: why,
		Fixed: d.sealed == 0 && d.lost == 0 && !down,
	})
}

// missedSlot tells of slots that passed without a restore point before the one that is due now.
func (p *planner) missedSlot(w *work) {
	if w.backup.Schedule == nil || paused(w.backup) || w.newest < 0 {
		return
	}
	if _, edited := p.byAddress[w.address]; edited {
		return // slots of a schedule that was not in force
	}
	due, ok := w.rule.LatestDue(w.address, p.now)
	if !ok {
		return
	}
	missed, ok := w.rule.LatestDue(w.address, due.Add(-time.Nanosecond))
	if !ok || serves(w.points[w.newest], missed) {
		return
	}
	p.drifted(plan.Drift{
		Address: w.address, Reason: plan.DriftSlotMissed, Since: missed, Fixed: w.making != "",
		Why: fmt.Sprintf("slot %s passed without a restore point; the newest is of %s", formatTime(missed), formatTime(w.points[w.newest].Time)),
	})
}

// breach tells of a newest restore point that is older than promised. Pausing a schedule does not silence it.
func (p *planner) breach(w *work) {
	rpo := w.backup.Objective.RPO
	if rpo <= 0 {
		return
	}
	d := plan.Drift{Address: w.address, Reason: plan.DriftRPO, Fixed: w.making != "", Why: "there is no complete restore point; the objective is rpo = " + rpo.String()}
	if w.newest >= 0 {
		last, what := p.newestMoment(w)
		age := p.now.Sub(last)
		if age <= rpo.Std() {
			return
		}
		d.Since = last.Add(rpo.Std())
		d.Why = fmt.Sprintf("%s is %s old; the objective is rpo = %s", what, formatAge(age), rpo)
		if log := p.logOf(w); log != nil && p.now.Sub(log.Seen) > rpo.Std() {
			d.Why += fmt.Sprintf(". Its server was last heard of %s ago; `-refresh=list` looks again", formatAge(p.now.Sub(log.Seen)))
		}
	}
	switch {
	case d.Fixed:
	case w.backup.KeepsWAL():
		d.Why += ". See that its WAL comes in; `holdfast apply -force=" + w.address + "` makes a restore point at once"
	case paused(w.backup):
		d.Why += ". The schedule is paused: remove `paused`, or `holdfast apply -force=" + w.address + "` for one restore point"
	default:
		d.Why += ". Nothing is due now; `holdfast apply -force=" + w.address + "` makes a restore point at once"
	}
	p.drifted(d)
}

// hurtCopies names the copies that are known to be damaged.
func (p *planner) hurtCopies(w *work, gone []leaver) {
	for _, i := range w.hurt {
		point := &w.points[i]
		if _, leaves := findLeaver(gone, i); leaves {
			continue
		}
		for j := range point.Copies {
			c := &point.Copies[j]
			if !p.broken(w.address, point, c) {
				continue
			}
			why := p.damaged[damagedKey{c.Store, point.Stored(w.address), point.ID}]
			reason := plan.DriftCopyDamaged
			switch why {
			case manifestMissing:
				reason = plan.DriftPointMissing
			case "":
				for _, proof := range c.Proofs {
					if !proof.OK {
						why = proof.Error
					}
				}
			}
			why = "in " + c.Store + ": " + why
			from, planned := w.repairing[repairID(w.address, point.ID, c.Store)]
			switch {
			case setAside(c, w.madeAfter(point, p.now)):
				why += "; there is no good copy, and what was damaged is set aside"
			case planned && from == "":
				why += "; there is no good copy of it"
			case !planned && p.goodOutOfReach(w, point) != "":
				why += "; " + p.goodOutOfReach(w, point) + " may have a good copy, and could not be reached"
			case !p.reachable(*c):
				why += "; the store holds another repository now, or is not declared"
			}
			p.drifted(plan.Drift{Address: w.address, Point: point.ID, Store: c.Store, Reason: reason, Why: why, Fixed: from != ""})
		}
	}
}

// past is what earlier runs did to a backup.
type past struct {
	run      *state.Run // the newest apply that ended by itself and was about it
	failed   []state.RunAction
	released bool // a hold was made or ended since
}

// pastOf returns nil for a backup that no run on record was about.
func (p *planner) pastOf(address string) *past {
	if p.history == nil {
		p.history = p.pasts()
	}
	return p.history[address]
}

// pasts reads the newest runs once.
func (p *planner) pasts() map[string]*past {
	pasts, read := map[string]*past{}, 0
	of := func(address string) *past {
		if pasts[address] == nil {
			pasts[address] = &past{}
		}
		return pasts[address]
	}
	for i := len(p.in.Catalog.Runs) - 1; i >= 0 && read < expectRecords; i-- {
		r := &p.in.Catalog.Runs[i]
		read += len(r.Actions)
		ended := r.Operation == "apply" && (r.Status == state.RunOK || r.Status == state.RunFailed)
		for _, a := range r.Actions {
			switch h := of(a.Address); {
			case h.run == nil && r.Operation == "hold":
				h.released = true
			case ended && h.run == nil:
				h.run = r
			}
			if h := pasts[a.Address]; h.run == r && a.Kind == string(plan.Expire) && a.Status == state.RunFailed {
				h.failed = append(h.failed, a)
			}
		}
	}
	return pasts
}

// overdueExpiry tells of points that an earlier run should have taken away: retention that does not run is no silence.
func (p *planner) overdueExpiry(w *work, gone []leaver) {
	h := p.pastOf(w.address)
	if h == nil || h.run == nil {
		return
	}
	leaves := map[string]bool{}
	for _, l := range gone {
		leaves[w.after[l.index].ID] = true
	}
	for _, a := range h.failed {
		p.drifted(plan.Drift{
			Address: w.address, Point: a.Point, Store: a.Store, Reason: plan.DriftExpireFailed, Since: h.run.Started,
			Why: "the last attempt to delete it failed: " + a.Error, Fixed: leaves[a.Point],
		})
	}
	k := p.rules.desired(p.in.Desired, w.address)
	old, _ := p.rules.applied(p.in.Catalog.Objects, w.address)
	if len(gone) == 0 || !k.equal(old) || h.released {
		return
	}
	then := p.then[:0]
	for i := range w.points {
		if !w.points[i].Finished.After(h.run.Started) {
			then = append(then, w.points[i])
		}
	}
	p.then = then
	in := p.in
	in.Catalog.Points = map[string][]state.RestorePoint{w.address: then}
	ids := p.rules.expiring(in, w.address, h.run.Started)
	overdue, bytes := 0, int64(0)
	for i := range then {
		if ids[then[i].ID] && leaves[then[i].ID] {
			overdue++
			bytes += then[i].Size
		}
	}
	if overdue > 0 {
		p.drifted(plan.Drift{
			Address: w.address, Reason: plan.DriftOverRetention, Bytes: bytes, Since: h.run.Started, Fixed: true,
			Why: fmt.Sprintf("%s should have expired by the run of %s", count(overdue, "restore point"), formatTime(h.run.Started)),
		})
	}
}

func (p *planner) floor(w *work) {
	k := p.rules.desired(p.in.Desired, w.address)
	if !k.some || k.retention.MinVerified == 0 || len(w.points) < k.retention.MinVerified {
		return
	}
	if _, verified := verifiedWithout(w.points, nil); verified < k.retention.MinVerified {
		_, after := verifiedWithout(w.after, nil)
		p.drifted(plan.Drift{
			Address: w.address, Reason: plan.DriftUnderRetention, Fixed: after >= k.retention.MinVerified,
			Why: fmt.Sprintf("%s verified; min_verified is %d. `holdfast verify %s` reads copies back", count(verified, "restore point"), k.retention.MinVerified, w.address),
		})
	}
}

// overdueProof tells when a host that cannot read is all that makes proofs: what the policy asks for beyond that has to come
// from a host with a key now and then.
func (p *planner) overdueProof(w *work) {
	level := w.backup.Verify.After
	if !p.in.Sealed[w.backup.Store] || level.Rank() <= policy.VerifyStored.Rank() || w.newest < 0 {
		return
	}
	since := w.points[0].Time
	for i := range w.points {
		for _, c := range w.points[i].Copies {
			for _, proof := range c.Proofs {
				if proof.OK && policy.VerifyLevel(proof.Level).Rank() >= level.Rank() && proof.At.After(since) {
					since = proof.At
				}
			}
		}
	}
	if age := p.now.Sub(since); age > policy.Reread {
		p.drifted(plan.Drift{
			Address: w.address, Reason: plan.DriftProofOld, Since: since.Add(policy.Reread),
			Why: fmt.Sprintf("nothing was proven at level %q for %s, and this host has no key for it: run `holdfast verify -level=%s %s` where the key is", level, formatAge(age), level, w.address),
		})
	}
}

// overdueRehearsal tells when a rehearsal failed, when this host cannot make one, or when an earlier run should have.
func (p *planner) overdueRehearsal(w *work) {
	r := w.backup.Verify.Restore
	if r == nil || r.Every <= 0 && w.backup.Verify.After != policy.VerifyRestore || w.newest < 0 {
		return
	}
	last := state.LastProof(w.points, string(policy.VerifyRestore))
	if failed := failedRehearsal(w.points); failed.At.After(last) {
		p.drifted(plan.Drift{
			Address: w.address, Reason: plan.DriftRehearsalOld, Since: failed.At, Fixed: w.rehearsing != "",
			Why: "the last restore to a scratch place failed: " + failed.Error,
		})
		return
	}
	if r.Every <= 0 {
		return
	}
	since, asked := last, p.now
	if last.IsZero() {
		since = w.points[0].Time
	}
	if !p.in.Sealed[w.backup.Store] && !paused(w.backup) {
		h := p.pastOf(w.address)
		if _, edited := p.byAddress[w.address]; edited || h == nil || h.run == nil {
			return // due at most
		}
		asked = h.run.Started
	}
	if asked.Sub(since) < r.Every.Std() {
		return
	}
	d := plan.Drift{Address: w.address, Reason: plan.DriftRehearsalOld, Since: since.Add(r.Every.Std()), Fixed: w.rehearsing != "", Why: "never restored to a scratch place"}
	if !last.IsZero() {
		d.Why = "last restored to a scratch place " + formatAge(p.now.Sub(last)) + " ago"
	}
	d.Why += "; the policy says every " + r.Every.String()
	if p.in.Sealed[w.backup.Store] {
		d.Why += ". This host cannot read the store: run `holdfast apply` or `holdfast verify -level=restore` where the key is"
	}
	p.drifted(d)
}

func failedRehearsal(points []state.RestorePoint) (newest state.Proof) {
	for i := range points {
		for j := range points[i].Copies {
			for _, proof := range points[i].Copies[j].Proofs {
				if !proof.OK && proof.Level == string(policy.VerifyRestore) && proof.At.After(newest.At) {
					newest = proof
				}
			}
		}
	}
	return newest
}

// drift adds what is about stores and sources, and puts everything in order.
func (p *planner) drift() {
	for _, address := range sortedKeys(p.in.Desired.Retentions) {
		if p.scope.all && !p.retains(address) {
			p.drifted(plan.Drift{Address: address, Reason: plan.DriftRetentionUnused, Why: "no backup refers to it, so it keeps and expires nothing"})
		}
	}
	for _, address := range sortedKeys(p.in.Observed.Stores) {
		if p.scope.has(address) {
			p.driftOfStore(address, p.in.Observed.Stores[address])
		}
	}
	for _, address := range sortedKeys(p.in.Observed.Sources) {
		if p.scope.has(address) {
			p.driftOfSource(address, p.in.Observed.Sources[address])
		}
	}
	slices.SortStableFunc(p.out.Drift, func(a, b plan.Drift) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(string(a.Reason), string(b.Reason)), strings.Compare(a.Point, b.Point),
			strings.Compare(a.Store, b.Store), strings.Compare(a.Object, b.Object))
	})
}

func (p *planner) retains(address string) bool {
	for _, b := range p.in.Desired.Backups {
		if b.Retention == address {
			return true
		}
	}
	return false
}

func (p *planner) driftOfStore(address string, seen ObservedStore) {
	add := func(reason plan.Reason, why string) {
		p.drifted(plan.Drift{Address: address, Store: address, Reason: reason, Why: why})
	}
	store, known := p.in.Desired.Stores[address], p.in.Catalog.Objects[address]
	switch {
	case seen.Err != "":
		add(plan.DriftStoreUnreachable, seen.Err)
		return
	case known.Repository != "" && seen.Repository != known.Repository:
		add(plan.DriftStoreSwapped, fmt.Sprintf("it holds repository %q; what was stored is in %s. Nothing is written there until the url leads to that again", seen.Repository, known.Repository))
		return
	}
	if !store.Encryption.None && !sameRecipients(store.Encryption, policy.Encryption{Recipients: seen.Recipients}) {
		add(plan.DriftRecipients, "it is sealed to other recipients than the policy names; `holdfast key rotate "+address+"` makes them those of the policy")
	} else if !store.Encryption.None && !sameRecipients(policy.Encryption{Recipients: store.Encryption.Writers}, policy.Encryption{Recipients: seen.Writers}) {
		add(plan.DriftRecipients, "it has other writers than the policy names; `holdfast key rotate "+address+"` makes them those of the policy")
	}
	if store.Versioning && seen.Versioning != nil && !*seen.Versioning {
		add(plan.DriftVersioningOff, "the bucket does not keep versions; the policy says that it must")
	}
	if store.ObjectLock && seen.ObjectLock != nil && !*seen.ObjectLock {
		add(plan.DriftObjectLockOff, "the bucket has no object lock; the policy says that it must")
	}
	p.unmanaged(address, seen)
	repaired := p.repaired()
	for _, d := range seen.Damage {
		fixed := slices.ContainsFunc(d.Points, func(label string) bool {
			stored, id, _ := cutLast(label)
			return repaired[damagedKey{address, stored, id}]
		})
		p.drifted(plan.Drift{
			Address: address, Store: address, Reason: plan.DriftObjectDamaged, Object: d.Object, Why: d.Problem + neededBy(d.Points), Fixed: fixed,
		})
	}
	for _, name := range seen.Unknown {
		p.drifted(plan.Drift{Address: address, Store: address, Reason: plan.DriftObjectUnknown, Object: name, Why: "it belongs to nothing that holdfast stores"})
	}
}

func neededBy(points []string) string {
	switch {
	case len(points) == 0:
		return ""
	case len(points) > 3:
		return fmt.Sprintf("; needed by %s and %d more", strings.Join(points[:3], ", "), len(points)-3)
	default:
		return "; needed by " + strings.Join(points, ", ")
	}
}

// repaired are the copies that this plan repairs from a good one, as their stores know them.
func (p *planner) repaired() map[damagedKey]bool {
	repaired := map[damagedKey]bool{}
	stored := map[string]map[string]string{} // backup address → point → address it is stored under
	for _, a := range p.out.Actions {
		if a.Kind != plan.Repair || a.From == "" {
			continue
		}
		if stored[a.Address] == nil {
			stored[a.Address] = map[string]string{}
			for i := range p.in.Catalog.Points[a.Address] {
				point := &p.in.Catalog.Points[a.Address][i]
				stored[a.Address][point.ID] = point.Stored(a.Address)
			}
		}
		repaired[damagedKey{a.Store, stored[a.Address][a.Point], a.Point}] = true
	}
	return repaired
}

// unmanaged tells of points in a store that neither the catalog nor a run at work knows.
func (p *planner) unmanaged(store string, seen ObservedStore) {
	known := map[[2]string]bool{}
	for address, points := range p.in.Catalog.Points {
		for i := range points {
			known[[2]string{points[i].Stored(address), points[i].ID}] = true
		}
	}
	for _, run := range p.in.Catalog.Runs {
		for _, a := range run.Actions {
			if a.Status == state.RunPending || run.Status == state.RunPending {
				known[[2]string{a.Address, a.Point}] = true
			}
		}
	}
	for _, point := range seen.Points {
		if !known[[2]string{point.Address, point.ID}] {
			p.drifted(plan.Drift{
				Address: point.Address, Point: point.ID, Store: store, Reason: plan.DriftPointUnmanaged,
				Why: "it is in " + store + " and not in the catalog; `holdfast import " + store + "` takes it in",
			})
		}
	}
}

func (p *planner) driftOfSource(address string, seen ObservedSource) {
	add := func(reason plan.Reason, why string) {
		p.drifted(plan.Drift{Address: address, Reason: reason, Why: why})
	}
	if seen.Err != "" {
		add(plan.DriftSourceUnreachable, seen.Err)
		return
	}
	if before := p.in.Catalog.Objects[address].Identity; before != "" && seen.Identity != "" && before != seen.Identity {
		add(plan.DriftSourceIdentity, fmt.Sprintf("another server answers: %s, backed up until now was %s", seen.Identity, before))
	}
	kind := p.in.Desired.Sources[address].Kind
	if before := p.lastVersion(address); before != "" && seen.Version != "" && series(kind, before) != series(kind, seen.Version) {
		needs := "older ones need a server of their major version or a newer one"
		if kind == policy.KindQdrant {
			needs = "snapshots are promised to restore only on servers of their minor version; exports fit any"
		}
		add(plan.DriftSourceVersion, fmt.Sprintf("it is version %s now; the newest restore point is of version %s, and %s", seen.Version, before, needs))
	}
	for _, name := range seen.Names {
		if !ignored(kind, name) && !p.covered(address, name) {
			add(plan.DriftNotCovered, fmt.Sprintf("no backup covers %q", name))
		}
	}
	for _, gap := range seen.Gaps {
		add(plan.DriftNotCovered, gap)
	}
	for _, backup := range slices.Sorted(maps.Keys(seen.Lacks)) {
		for _, lack := range seen.Lacks[backup] {
			p.drifted(plan.Drift{Address: backup, Reason: plan.DriftServerSetup, Why: lack})
		}
	}
}

// series is the part of a version within which restore points fit every server: major, for Qdrant major and minor.
func series(kind policy.SourceKind, version string) string {
	major, rest, _ := strings.Cut(version, ".")
	if kind != policy.KindQdrant {
		return major
	}
	minor, _, _ := strings.Cut(rest, ".")
	return major + "." + minor
}

// ignored are the names that nobody means to back up: the maintenance database that every PostgreSQL server has, and what
// restores and rehearsals under way are building.
func ignored(kind policy.SourceKind, name string) bool {
	return kind == policy.KindPostgres && name == "postgres" || strings.HasPrefix(name, "hf_drill_") || strings.HasPrefix(name, "hf_restore_")
}

// lastVersion is the server's version at the newest restore point of the source.
func (p *planner) lastVersion(source string) (version string) {
	var newest time.Time
	for _, points := range p.in.Catalog.Points {
		for i := range points {
			if point := &points[i]; point.Source == source && point.Version != "" && point.Time.After(newest) {
				newest, version = point.Time, point.Version
			}
		}
	}
	return version
}

// covered tells whether some declared backup of a source takes in a database or collection. Several Qdrant sources may share
// a server, each with some of its collections.
func (p *planner) covered(source, name string) bool {
	here := p.in.Desired.Sources[source].Qdrant
	for _, b := range p.in.Desired.Backups {
		from := p.in.Desired.Sources[b.Source].Qdrant
		switch {
		case here != nil:
			if from != nil && from.SameServer(*here) && from.Covers(name) {
				return true
			}
		case b.Source == source && (b.Logical == nil || b.Logical.Covers(name)):
			return true
		}
	}
	return false
}
