package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/test/ragdata"
)

// The collection of the benchmark, and how wide its vectors are.
const (
	benchCollection = "holdfast-bench"
	restoredName    = "holdfast-bench-restored"
	benchDimensions = 768
)

// qdrantServer is the server that the environment names.
type qdrantServer struct{ ragdata.Qdrant }

// settle waits until the optimizer has nothing left to do.
func (q qdrantServer) settle(ctx context.Context, name string) error {
	calm := 0
	for calm < 3 {
		var info struct {
			Status string `json:"status"`
		}
		if err := q.Ask(ctx, http.MethodGet, "/collections/"+name, nil, &info); err != nil {
			return err
		}
		if calm++; info.Status != "green" {
			calm = 0
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
	return nil
}

// byHand is what one does without a tool: let the server make a snapshot and download it with curl.
type byHand struct {
	q   qdrantServer
	dir string
}

func (b *byHand) ingest(ctx context.Context) (measure, error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return measure{}, err
	}
	at := b.q.URL + "/collections/" + benchCollection + "/snapshots"
	answer := filepath.Join(b.dir, "answer")
	sum, err := timed(ctx, command{argv: []string{"curl", "-sf", "-X", "POST", at, "-o", answer}})
	if err != nil {
		return sum, err
	}
	text, err := os.ReadFile(answer)
	if err != nil {
		return sum, err
	}
	var said struct {
		Result struct {
			Name string `json:"name"`
		} `json:"result"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return sum, err
	}
	m, err := timed(ctx, command{argv: []string{"curl", "-sf", at + "/" + said.Result.Name, "-o", b.file()}})
	sum.wall, sum.cpu, sum.rss = sum.wall+m.wall, sum.cpu+m.cpu, max(sum.rss, m.rss)
	return sum, errors.Join(err, b.q.Ask(ctx, http.MethodDelete, "/collections/"+benchCollection+"/snapshots/"+said.Result.Name, nil, nil))
}

func (b *byHand) file() string { return filepath.Join(b.dir, "collection.snapshot") }

func (b *byHand) restore(ctx context.Context) (measure, error) {
	return timed(ctx, command{argv: []string{
		"curl", "-sf", "-X", "POST", b.q.URL + "/collections/" + restoredName + "/snapshots/upload?priority=snapshot", "-F", "snapshot=@" + b.file(), "-o", "/dev/null",
	}})
}

// The stages of the comparison. What happens before one is done once for all contestants.
var vectorStages = []string{
	"full", "nothing changed", "1 % of the points changed", "the optimizer took these in", "restore",
}

// restoring is the last stage.
var restoring = len(vectorStages) - 1

// vectors measures backing up a Qdrant collection, against the server's own snapshot and curl.
func vectors(ctx context.Context, o options, dir string) (string, error) {
	title := fmt.Sprintf("### A Qdrant collection of %d MiB\n\n", o.qdrant>>20)
	server, err := ragdata.FindQdrant()
	if errors.Is(err, ragdata.ErrNoQdrant) {
		return title + "Not measured: " + err.Error() + ".\n", nil
	}
	if err != nil {
		return "", err
	}
	q := qdrantServer{server}
	version, err := q.Version(ctx)
	if err != nil {
		return "", err
	}
	defer func() {
		for _, name := range []string{benchCollection, restoredName} {
			_ = q.Ask(context.WithoutCancel(ctx), http.MethodDelete, "/collections/"+name, nil, nil) // it may not be there
		}
	}()
	points := ragdata.SizedPoints(1, o.qdrant, benchDimensions)
	if err := q.fill(ctx, points); err != nil {
		return "", err
	}
	list := []struct {
		name string
		tool *holdfast
	}{
		{"holdfast, stream", q.contestant(o, dir, "stream", "none")},
		{"holdfast, snapshot", q.contestant(o, dir, "snapshot", "none")},
		{"holdfast, stream, verify after = \"stored\"", q.contestant(o, dir, "stored", "stored")},
	}
	hand := &byHand{q, filepath.Join(dir, "hand")}
	cells := map[string]map[string]*series{"curl": {}}
	names := []string{"curl"}
	for _, c := range list {
		names = append(names, c.name)
		cells[c.name] = map[string]*series{}
	}
	for stage := range vectorStages {
		if err := q.before(ctx, stage, points); err != nil {
			return "", err
		}
		for range o.rounds {
			m, err := hand.stage(ctx, stage)
			if err != nil {
				return "", fmt.Errorf("curl, %s: %w", vectorStages[stage], err)
			}
			note(cells["curl"], "curl", stage, m, 0)
			for _, c := range list {
				before, _ := folderSize(c.tool.store()) // it is not there yet
				if stage == 0 {
					if err := os.RemoveAll(c.tool.dir); err != nil {
						return "", err
					}
					before, c.tool.made = 0, false
				}
				m, err := q.measure(ctx, c.tool, stage)
				if err != nil {
					return "", fmt.Errorf("%s, %s: %w", c.name, vectorStages[stage], err)
				}
				after, err := folderSize(c.tool.store())
				if err != nil {
					return "", err
				}
				note(cells[c.name], c.name, stage, m, after-before)
			}
			if stage > 1 && stage < restoring {
				break // the second time nothing is new
			}
		}
	}
	return title + vectorTable(o, version, points, names, cells), nil
}

func note(cells map[string]*series, name string, stage int, m measure, stored int64) {
	s := vectorStages[stage]
	if cells[s] == nil {
		cells[s] = &series{}
	}
	cells[s].add(m, stored)
	progress("%-42s %-28s %7.2f s  %8.1f MiB stored  %4d MiB memory", name, s, m.wall.Seconds(), mib(stored), m.rss>>20)
}

func (b *byHand) stage(ctx context.Context, stage int) (measure, error) {
	if stage < restoring {
		return b.ingest(ctx)
	}
	m, err := b.restore(ctx)
	return m, errors.Join(err, b.q.Ask(ctx, http.MethodDelete, "/collections/"+restoredName, nil, nil))
}

func (q qdrantServer) measure(ctx context.Context, h *holdfast, stage int) (measure, error) {
	if stage < restoring {
		return h.ingest(ctx)
	}
	m, err := h.restore(ctx, restoredName)
	return m, errors.Join(err, q.Ask(ctx, http.MethodDelete, "/collections/"+restoredName, nil, nil))
}

// contestant is holdfast with a policy for the collection.
func (q qdrantServer) contestant(o options, dir, mode, verify string) *holdfast {
	method := mode
	if mode == "stored" {
		method = "stream"
	}
	return &holdfast{
		binary: o.binary, dir: filepath.Join(dir, mode), verify: verify,
		blocks: fmt.Sprintf("source \"qdrant\" \"data\" {\n  urls = [%q]\n  grpc = [%q]\n  collections = [%q]\n}\n---\n  source = source.qdrant.data\n  snapshot { mode = %q }\n",
			q.URL, q.GRPC, benchCollection, method),
	}
}

// fill makes the collection and waits until it is indexed.
func (q qdrantServer) fill(ctx context.Context, points ragdata.Points) error {
	progress("loading %d points of %d dimensions", points.Rows, points.Dimensions)
	_ = q.Ask(ctx, http.MethodDelete, "/collections/"+benchCollection, nil, nil) // what a killed run left
	if err := q.Ask(ctx, http.MethodPut, "/collections/"+benchCollection, map[string]any{
		"vectors":     map[string]any{"size": points.Dimensions, "distance": "Cosine", "on_disk": true},
		"hnsw_config": map[string]any{"m": 16, "ef_construct": 64}, "optimizers_config": map[string]any{"default_segment_number": 4},
	}, nil); err != nil {
		return err
	}
	c, err := q.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := points.Load(ctx, c, benchCollection, 0); err != nil {
		return err
	}
	progress("indexing")
	return q.settle(ctx, benchCollection)
}

// before prepares a stage.
func (q qdrantServer) before(ctx context.Context, stage int, points ragdata.Points) error {
	optimizers := func(settings map[string]any) error {
		return q.Ask(ctx, http.MethodPatch, "/collections/"+benchCollection, map[string]any{"optimizers_config": settings}, nil)
	}
	switch stage {
	case 2: // without the optimizer, so that the change alone is measured
		if err := optimizers(map[string]any{"max_optimization_threads": 0}); err != nil {
			return err
		}
		c, err := q.Dial()
		if err != nil {
			return err
		}
		defer c.Close()
		return points.Change(ctx, c, benchCollection, 1)
	case 3:
		progress("optimizing")
		if err := optimizers(map[string]any{"max_optimization_threads": "auto"}); err != nil {
			return err
		}
		return q.settle(ctx, benchCollection)
	}
	return nil
}

func vectorTable(o options, version string, points ragdata.Points, names []string, cells map[string]map[string]*series) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Qdrant %s on the same two processors, %d points of %d dimensions with texts, indexed. Medians of %d rounds (of one where something was changed before); seconds of wall clock (of the client's processes), MiB that the store grew by, MiB of memory. curl: the server makes a snapshot and curl downloads it to disk.\n\n",
		version, points.Rows, points.Dimensions, o.rounds)
	b.WriteString("| | " + strings.Join(names, " | ") + " |\n|---|" + strings.Repeat("---|", len(names)) + "\n")
	for i, stage := range vectorStages {
		b.WriteString("| " + stage)
		for _, name := range names {
			s := cells[name][stage]
			if name == "curl" || i == restoring {
				fmt.Fprintf(&b, " | %.2f s (%.1f), %d MiB memory", s.wall(), s.cpu(), s.rss()>>20)
				continue
			}
			fmt.Fprintf(&b, " | %.2f s (%.1f), %.1f MiB, %d MiB memory", s.wall(), s.cpu(), s.bytes()/(1<<20), s.rss()>>20)
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n| promise | aim | measured |\n|---|---|---|\n")
	judge := func(what string, aim, got float64) {
		text := fmt.Sprintf("%.2f", got)
		if got > aim {
			text += ", missed"
		}
		fmt.Fprintf(&b, "| %s | at most %.2f | %s |\n", what, aim, text)
	}
	hand := cells["curl"]["full"].wall()
	for _, name := range names[1:] {
		judge("full, wall, "+name+", against curl", 1.1, cells[name]["full"].wall()/hand)
	}
	judge("1 % of the points changed, bytes stored, of the full", 0.15, cells[names[1]][vectorStages[2]].bytes()/cells[names[1]]["full"].bytes())
	return b.String()
}
