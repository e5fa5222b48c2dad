package planner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/state"
)

// SettingsAddress is the address of the `holdfast` block.
const SettingsAddress = "holdfast"

// Objects returns the declared policy objects as the catalog keeps them, by address. Attributes are canonical JSON:
// fields in the order of their type, map keys sorted, secrets as the expression that was written.
func Objects(set policy.Set) map[string]state.Object {
	objects := make(map[string]state.Object, len(set.Stores)+len(set.Sources)+len(set.Retentions)+len(set.Backups)+1)
	if set.Settings != (policy.Settings{}) {
		objects[SettingsAddress] = object(set.Settings)
	}
	for address, v := range set.Stores {
		objects[address] = object(v)
	}
	for address, v := range set.Sources {
		objects[address] = object(v)
	}
	for address, v := range set.Retentions {
		objects[address] = object(v)
	}
	for address, v := range set.Backups {
		objects[address] = object(v)
	}
	return objects
}

// object encodes one policy value. Policy values always encode: a failure is a mistake in their type.
func object(v any) state.Object {
	attributes, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("planner: encode %T: %v", v, err))
	}
	sum := sha256.Sum256(attributes)
	return state.Object{Attributes: attributes, Hash: hex.EncodeToString(sum[:])}
}

// PolicyHash is the hex SHA-256 of everything declared. A saved plan carries it, so that it is applied with the
// policy it was made from.
func PolicyHash(set policy.Set) string {
	objects := Objects(set)
	sum := sha256.New()
	for _, address := range sortedKeys(objects) {
		fmt.Fprintf(sum, "%q %s\n", address, objects[address].Hash)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
