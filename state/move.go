package state

import (
	"slices"
	"strings"
)

// Movable tells whether an object may take a new address: it is known, and nothing else lives at the new one.
func (c *Catalog) Movable(from, to string) bool {
	there, taken := c.Objects[to]
	_, known := c.Objects[from]
	known = known || len(c.Points[from]) > 0 || len(c.WAL[from]) > 0
	return known && from != to && (!taken || there.Forgotten) && len(c.Points[to]) == 0 && len(c.WAL[to]) == 0
}

// Move gives an object and what belongs to it a new address. Restore points remember what they are stored as; copies
// and WAL follow a store that is moved. The maps are changed in place, lists of points and of WAL are not.
func (c *Catalog) Move(from, to string) {
	if o, ok := c.Objects[from]; ok {
		delete(c.Objects, from)
		c.Objects[to] = o
	}
	if points := c.Points[from]; len(points) > 0 {
		points = slices.Clone(points)
		for i := range points {
			if points[i].StoredAs = points[i].Stored(from); points[i].StoredAs == to {
				points[i].StoredAs = ""
			}
		}
		delete(c.Points, from)
		c.Points[to] = points
	}
	if logs := c.WAL[from]; len(logs) > 0 {
		delete(c.WAL, from)
		c.WAL[to] = logs
	}
	if strings.HasPrefix(from, "store.") {
		for address, logs := range c.WAL {
			c.WAL[address] = renameLogs(logs, from, to)
		}
		for address, points := range c.Points {
			c.Points[address] = renameStore(points, from, to)
		}
	}
}

func renameStore(points []RestorePoint, from, to string) []RestorePoint {
	points = slices.Clone(points)
	for i := range points {
		points[i].Copies = slices.Clone(points[i].Copies)
		for j := range points[i].Copies {
			if points[i].Copies[j].Store == from {
				points[i].Copies[j].Store = to
			}
		}
	}
	return points
}

func renameLogs(logs []WAL, from, to string) []WAL {
	logs = slices.Clone(logs)
	for i := range logs {
		if logs[i].Store == from {
			logs[i].Store = to
		}
	}
	return logs
}
