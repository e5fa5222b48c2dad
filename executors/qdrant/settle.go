package qdrant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// replicas waits until every replica of every shard is active.
func (m *maker) replicas(ctx context.Context) error {
	return m.poll(ctx, func() (bool, string, error) {
		l, err := m.c.layout(ctx, m.name)
		if err != nil {
			return false, "", err
		}
		return l.active()
	})
}

// active tells whether all replicas are.
func (l *layout) active() (bool, string, error) {
	for _, s := range l.shards {
		for _, r := range s.replicas {
			if r.state != stateActive {
				return false, fmt.Sprintf("shard %d on node %d is %s", s.id, r.peer, r.state), nil
			}
		}
	}
	return len(l.Transfers) == 0, "shards are being transferred", nil
}

// settle waits until the collection is green and all its replicas are active.
func (m *maker) settle(ctx context.Context) error {
	nudged := false
	return m.poll(ctx, func() (bool, string, error) {
		i, err := m.c.info(ctx, m.name)
		if err != nil {
			return false, "", err
		}
		switch i.Status {
		case "red":
			return false, "", fmt.Errorf("the server says that the collection is red: %w", cmp.Or(i.optimizer(), errors.New("it does not say why")))
		case "grey":
			// Optimizations are pending and wait for a change: an empty one will do.
			if !nudged {
				nudged = true
				return false, "grey", m.patch(ctx, map[string]any{"optimizers_config": map[string]any{}})
			}
			return false, "grey", nil
		case "green":
		default:
			return false, "its status is " + i.Status, nil
		}
		l, err := m.c.layout(ctx, m.name)
		if err != nil {
			return false, "", err
		}
		if ok, why, err := l.active(); !ok || err != nil {
			return ok, why, err
		}
		return m.agree(ctx)
	})
}

// agree tells whether the replicas of each shard hold the same number of points. In a cluster a server says that it took an
// archive in before the other replicas know of it: for a moment all are active, and some are empty.
func (m *maker) agree(ctx context.Context) (bool, string, error) {
	points := map[uint32]int64{}
	for _, n := range m.c.nodes {
		l, err := n.layout(ctx, m.name)
		if err != nil {
			return false, "", err
		}
		for _, s := range l.shards {
			if !s.local {
				continue
			}
			if other, ok := points[s.id]; ok && other != s.points {
				return false, fmt.Sprintf("shard %d has %d points on one node and %d on another", s.id, other, s.points), nil
			}
			points[s.id] = s.points
		}
	}
	return true, "", nil
}

// poll asks until ready says yes. Indexing may take as long as it takes; anything else that does not move for a while is an
// error, and so are questions that get no answer for a while.
func (m *maker) poll(ctx context.Context, ready func() (ok bool, why string, err error)) error {
	begun, told, moved, answered, before := time.Now(), time.Now(), time.Now(), time.Now(), ""
	for {
		ok, why, err := ready()
		switch {
		case ok && err == nil:
			return nil
		case err == nil:
			answered = time.Now()
		case ctx.Err() != nil || !unanswered(err) || time.Since(answered) > m.x.margins.unanswered:
			return err
		default:
			why = "the server does not answer: " + err.Error()
		}
		if why != before {
			before, moved = why, time.Now()
		}
		if strings.HasPrefix(why, "shard ") && time.Since(moved) > m.x.margins.stuck {
			return fmt.Errorf("%s, and nothing has moved for %s", why, m.x.margins.stuck)
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			m.log.Info("waiting for a collection", "collection", m.name, "why", why, "dur", time.Since(begun).Round(time.Second))
		}
		if err := sleep(ctx, m.x.o.Poll); err != nil {
			return fmt.Errorf("%w (%s)", err, why)
		}
	}
}
