package lang

import (
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/policy"
)

// physical builds what a physical block of the backup at address says.
func (b *builder) physical(o *object, address string) *policy.Physical {
	p := &policy.Physical{
		Reader: policy.Reader(o.text("reader")), Checkpoint: policy.Checkpoint(o.text("checkpoint")),
		WAL: policy.WAL{Mode: policy.WALNone},
	}
	w := o.block("wal")
	if w == nil {
		return p
	}
	p.WAL = policy.WAL{Mode: policy.WALMode(w.text("mode")), MaxLag: w.span("max_lag"), Slot: w.text("slot")}
	if w.absent("max_lag") {
		p.WAL.MaxLag = p.WAL.Mode.DefaultLag()
	}
	if w.absent("slot") && p.WAL.Mode == policy.WALStream {
		p.WAL.Slot = policy.DefaultSlot(address)
	}
	return p
}

// minLag is the least max_lag: each flush costs an object in the store.
const minLag = policy.Duration(time.Second)

// checkPhysical looks into a physical block, and for what only goes with one.
func (b *builder) checkPhysical(o *object) {
	s := o.block("physical")
	if s == nil {
		if o.node.attrs["impact"] != nil && !o.absent("impact") && !o.node.flawed {
			b.error(o.at("impact"), "impact", "impact without a physical block", "Only physical backups pace themselves by it. Use max_rate to limit this one, or remove impact.")
		}
		return
	}
	if s.node.attrs["max_rate"] != nil && o.node.attrs["max_rate"] != nil && !s.absent("max_rate") && !o.absent("max_rate") {
		b.error(s.at("max_rate"), "max_rate", "max_rate is given twice", fmt.Sprintf("The backup has one at %s, and it means the same. Remove one of the two.", where(o.node.attrs["max_rate"].Range)))
	}
	w := s.block("wal")
	if w == nil || !w.known("mode") {
		return
	}
	mode := policy.WALMode(w.text("mode"))
	switch {
	case mode == policy.WALNone && !w.absent("max_lag"):
		b.error(w.at("max_lag"), "wal", "max_lag without WAL", "With mode = \"none\" nothing is stored between base backups. Use mode = \"stream\", or remove max_lag.")
	case w.known("max_lag") && w.span("max_lag") < minLag:
		b.error(w.at("max_lag"), "wal", "max_lag is too short", fmt.Sprintf("It is %s; the least is %s.", w.span("max_lag"), minLag))
	}
	switch {
	case mode != policy.WALStream && !w.absent("slot"):
		b.error(w.at("slot"), "slot", fmt.Sprintf("slot with mode = %q", mode), "Only a stream reads from a replication slot. Use mode = \"stream\", or remove slot.")
	case w.known("slot") && !policy.ValidSlot(w.text("slot")):
		b.error(w.at("slot"), "slot", fmt.Sprintf("%s is not a slot's name", quoteShort(w.text("slot"))), "PostgreSQL takes lower-case letters, digits and underscores, from 1 to 63 of them, such as \"holdfast_app\".")
	}
}

// checkLag compares the promise with the lag of the WAL, which meets it between base backups. It answers false where the
// schedule decides, because no WAL is stored.
func (b *builder) checkLag(o *object, p policy.Backup) bool {
	w := o.block("physical").block("wal")
	if w == nil {
		return false
	}
	if !w.known("mode") || !w.known("max_lag") && !w.absent("max_lag") {
		return true // it cannot be told
	}
	if !p.KeepsWAL() {
		return false
	}
	if lag, rpo := p.Physical.WAL.MaxLag, p.Objective.RPO; rpo < lag {
		b.error(o.block("objective").at("rpo"), "rpo", "The WAL cannot meet the rpo", fmt.Sprintf("Up to %s may pass before what was committed is stored (max_lag), more than %s. Write max_lag = %q in the wal block, or promise less.", spoken(lag), spoken(rpo), max(rpo, minLag)))
	}
	return true
}

// checkPhysicals looks at backups with WAL together: at their slots, and at the retentions that speak of them.
func (b *builder) checkPhysicals(objects []*object) {
	slots, streams := map[[2]string]string{}, map[string]string{} // source and slot, source → address of the first backup
	for _, o := range objects {
		p, ok := b.set.Backups[o.address]
		if !ok || !p.KeepsWAL() || p.Physical.WAL.Mode != policy.WALStream || p.Source == "" || p.Physical.WAL.Slot == "" {
			continue
		}
		at := o.block("physical").block("wal").at("slot")
		key := [2]string{p.Source, p.Physical.WAL.Slot}
		if first := slots[key]; first != "" {
			b.error(at, "slot", fmt.Sprintf("%s has the slot of %s", o.address, first), fmt.Sprintf("Both receive from %q of %s, and a slot serves one receiver: each would lose what the other takes. Give one of the two another slot.", key[1], key[0]))
		} else if first := streams[p.Source]; first != "" {
			b.warn(at, "two_streams", fmt.Sprintf("%s is streamed twice", p.Source), fmt.Sprintf("%s receives its WAL too: the server sends it twice, and keeps it until the slower one has it. To have it in two stores, use copies in one backup.", first))
		} else {
			streams[p.Source] = o.address
		}
		slots[key] = o.address
		b.checkRenamedSlot(o, at)
	}
	b.checkContinuous(objects)
}

// checkRenamedSlot finds a slot that gets another name because its backup does.
func (b *builder) checkRenamedSlot(o *object, at place) {
	if !o.block("physical").block("wal").absent("slot") {
		return
	}
	for _, m := range b.set.Moved {
		if m.To == o.address && strings.HasPrefix(m.From, "backup.") {
			before, now := policy.DefaultSlot(m.From), policy.DefaultSlot(m.To)
			if before != now {
				b.warn(at, "slot_renamed", fmt.Sprintf("The slot of %s is %s now", m.From, now), fmt.Sprintf("Slots are named after their backup. Write slot = %q to go on with the one that is there; otherwise drop it on the server, which keeps WAL for it for ever.", before))
			}
		}
	}
}

// checkContinuous finds windows of WAL that no backup fills, and backups that a window alone does not keep.
func (b *builder) checkContinuous(objects []*object) {
	filled, unknown := map[string]bool{}, map[string]bool{}
	for _, o := range objects {
		p, ok := b.set.Backups[o.address]
		if !ok {
			continue
		}
		if p.KeepsWAL() {
			filled[p.Retention] = true
			continue
		}
		physical := o.block("physical")
		if o.node.flawed || physical != nil && physical.block("wal") != nil && !physical.block("wal").known("mode") {
			unknown[p.Retention] = true // it may have been meant
			continue
		}
		r := b.set.Retentions[p.Retention]
		if continuous := (policy.Retention{Address: r.Address, Continuous: r.Continuous, MinVerified: r.MinVerified, MaxPrunePercent: r.MaxPrunePercent}); r.Continuous > 0 && r == continuous && !b.eval.byAddress[p.Retention].node.flawed {
			b.error(o.at("retention"), "keeps_nothing", fmt.Sprintf("%s keeps nothing of %s", p.Retention, o.address), "continuous speaks of WAL, which this backup does not store. Give the retention a rule such as daily, or refer to another.")
		}
	}
	for _, o := range objects {
		if o.schema.Type == "retention" && o.span("continuous") > 0 && !filled[o.address] && !unknown[o.address] && !unknown[""] {
			b.warn(o.at("continuous"), "not_used", "continuous without WAL", fmt.Sprintf("No backup that stores WAL refers to %s, so no instants between restore points are kept. It takes physical { wal { mode = \"stream\" } } in a backup.", o.address))
		}
	}
}
