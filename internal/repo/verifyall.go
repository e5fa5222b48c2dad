package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-io/holdfast/internal/blob"
	"github.com/holdfast-io/holdfast/internal/repo/hints"
)

// rest checks every object that is neither a pack, an index nor of a point, and names those that are in a place of ours
// under a name that is not.
func (v *verification) rest(ctx context.Context) error {
	var names []string
	held := map[string]bool{}
	var log []blob.Info
	err := v.r.bucket.List(ctx, "", func(i blob.Info) error {
		switch kindOf(i.Name) {
		case kindUnknown:
			if strings.HasPrefix(i.Name, pointsPrefix) {
				v.damage(i.Name, "its name is not that of a restore point")
			}
		case kindConfig, kindKey, kindHint, kindCondemned, kindLease, kindReseal:
			v.expect(1, i.Size)
			held[i.Name] = true
			names = append(names, i.Name)
		case kindWAL, kindWALClaim:
			v.expect(1, i.Size)
			log = append(log, i)
		case kindPack, kindIndex, kindSummary, kindManifest, kindQuarantine:
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list the store: %w", err)
	}
	for _, name := range names {
		if err := v.small(ctx, name); err != nil {
			return err
		}
	}
	for name := range v.r.config.KeyObjects {
		if !held[name] {
			v.damage(name, "it is missing from the store; whoever's key it is for can open nothing here")
		}
	}
	return v.wal(ctx, log)
}

// small checks one such object as far as the keys at hand go. Leases, marks and hints come and go while others work.
func (v *verification) small(ctx context.Context, name string) error {
	raw, ok, err := v.passing(ctx, name)
	if err != nil || !ok {
		return err
	}
	switch kindOf(name) {
	case kindConfig:
		if _, err := DecodeConfig(raw); err != nil {
			v.damage(name, err.Error())
		}
	case kindKey:
		if want := v.r.config.KeyObjects[name]; want != "" && hashOf(raw) != want {
			v.damage(name, fmt.Sprintf("its bytes hash to %s instead of %s", hashOf(raw), want))
		}
	case kindCondemned:
		err = wrapDamaged(name, second(decodeCondemned(raw)))
	case kindLease:
		err = wrapDamaged(name, second(decodeLease(raw)))
	case kindHint:
		if !v.r.CanWrite() {
			return nil
		}
		var plain []byte
		if plain, err = v.r.openMetadata(name, raw); err == nil {
			err = wrapDamaged(name, hints.NewTable().AddPart(plain))
		}
	case kindReseal:
		if got := resealPrefix + hashOf(raw); got != name {
			v.damage(name, "its bytes hash to "+hashOf(raw))
		}
	case kindUnknown, kindPack, kindIndex, kindSummary, kindManifest, kindQuarantine, kindWAL, kindWALClaim:
	}
	return v.damageOf(err)
}

// passing reads an object that may have gone since it was listed.
func (v *verification) passing(ctx context.Context, name string) (raw []byte, ok bool, err error) {
	raw, err = v.r.bucket.Get(ctx, name)
	if errors.Is(err, blob.ErrNotFound) {
		v.done(0)
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	v.done(int64(len(raw)))
	return raw, true, nil
}

func second[T any](_ T, err error) error { return err }
