package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The cells of the table, in the order they are measured.
var stages = []string{"full", "nothing changed", "1 % random rows changed", "1 % in one place changed, 1 % added", "restore"}

// onDisk is a restore and the time until what it wrote is on disk: holdfast ends then, the others end before.
const onDisk = "restore, and until it is on disk"

// contest is every tool's series, by stage.
type contest struct {
	names   []string // tools in order
	missing map[string]string
	cells   map[string]map[string]*series // by tool and stage
}

// ingest measures backing up and restoring a folder.
func ingest(ctx context.Context, o options, dir string) (string, error) {
	source := filepath.Join(dir, "data")
	progress("writing %d MiB of data", o.size>>20)
	if err := (job{"write", source, o.size, 0}).elsewhere(ctx); err != nil {
		return "", err
	}
	c := &contest{missing: map[string]string{}, cells: map[string]map[string]*series{}}
	for round := 1; round <= o.rounds; round++ {
		stores := filepath.Join(dir, "round")
		tools := []tool{
			&holdfast{binary: o.binary, dir: filepath.Join(stores, "a"), source: source, verify: "stored"},
			&restic{dir: filepath.Join(stores, "b"), source: source},
			&holdfast{binary: o.binary, dir: filepath.Join(stores, "c"), source: source, verify: "none"},
			&archive{dir: filepath.Join(stores, "d"), source: source},
		}
		if err := c.round(ctx, tools, o, source, dir, int64(round)); err != nil {
			return "", err
		}
		if err := os.RemoveAll(stores); err != nil {
			return "", err
		}
	}
	return c.table(o), nil
}

func (c *contest) round(ctx context.Context, tools []tool, o options, source, dir string, round int64) error {
	if err := warm(source); err != nil {
		return err
	}
	for _, stage := range stages {
		switch stage {
		case stages[2]:
			if err := (job{"random", source, o.size, 2*round - 1}).elsewhere(ctx); err != nil {
				return err
			}
		case stages[3]:
			if err := (job{"place", source, o.size, 2 * round}).elsewhere(ctx); err != nil {
				return err
			}
		}
		for _, t := range tools {
			if err := c.measure(ctx, t, stage, filepath.Join(dir, "restored")); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure runs one tool through one stage.
func (c *contest) measure(ctx context.Context, t tool, stage, target string) error {
	if c.cells[t.name()] == nil {
		c.names = append(c.names, t.name())
		c.cells[t.name()] = map[string]*series{}
		for _, s := range append([]string{onDisk}, stages...) {
			c.cells[t.name()][s] = &series{}
		}
	}
	if what := t.missing(); what != "" {
		c.missing[t.name()] = what
		return nil
	}
	_, whole := t.(*archive)
	if whole && stage != "full" && stage != "restore" {
		return nil // it would make the same whole copy again
	}
	before, err := folderSize(t.store())
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	var m measure
	if stage == "restore" {
		if m, err = t.restore(ctx, target); err == nil {
			durable := m
			start := time.Now()
			syscall.Sync()
			durable.wall += time.Since(start)
			c.cells[t.name()][onDisk].add(durable, 0)
		}
	} else {
		m, err = t.ingest(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s, %s: %w", t.name(), stage, err)
	}
	after, err := folderSize(t.store())
	if err != nil {
		return err
	}
	progress("%-32s %-36s %7.2f s  %6.1f MiB stored  %4d MiB memory", t.name(), stage, m.wall.Seconds(), mib(after-before), m.rss>>20)
	c.cells[t.name()][stage].add(m, after-before)
	if stage == "restore" {
		return os.RemoveAll(target)
	}
	return nil
}

// table writes the medians, and the promised ratios beside what they are.
func (c *contest) table(o options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### A folder of %d MiB\n\nMedians of %d rounds, tools in turn. Seconds of wall clock (of all processors), MiB that the store grew by, MiB of memory of the largest process.\n\n", o.size>>20, o.rounds)
	b.WriteString("| | " + strings.Join(c.names, " | ") + " |\n|---|" + strings.Repeat("---|", len(c.names)) + "\n")
	for _, stage := range append(slices.Clone(stages), onDisk) {
		b.WriteString("| " + stage)
		for _, name := range c.names {
			s := c.cells[name][stage]
			switch {
			case c.missing[name] != "":
				fmt.Fprintf(&b, " | not measured: no %s", c.missing[name])
			case len(s.measures) == 0:
				b.WriteString(" | as full")
			case stage == "restore", stage == onDisk:
				fmt.Fprintf(&b, " | %.2f s (%.1f), %d MiB memory", s.wall(), s.cpu(), s.rss()>>20)
			default:
				fmt.Fprintf(&b, " | %.2f s (%.1f), %.1f MiB, %d MiB memory", s.wall(), s.cpu(), s.bytes()/(1<<20), s.rss()>>20)
			}
		}
		b.WriteString(" |\n")
	}
	b.WriteString("\n" + c.promises())
	return b.String()
}

// promises compares the ratios with what the project aims at.
func (c *contest) promises() string {
	proven, peer, hand := c.cells[c.names[0]], c.cells[c.names[1]], c.cells[c.names[3]]
	wall, bytes := (*series).wall, (*series).bytes
	var b strings.Builder
	b.WriteString("| promise | aim | measured |\n|---|---|---|\n")
	for _, p := range []struct {
		what         string
		aim          float64
		ours, theirs *series
		of           func(*series) float64
		compared     string
	}{
		{"full, wall, verification included", 0.5, proven["full"], peer["full"], wall, "restic"},
		{"full, wall, verification included", 1.0, proven["full"], hand["full"], wall, "tar, zstd, age"},
		{"nothing changed, wall", 0.5, proven[stages[1]], peer[stages[1]], wall, "restic"},
		{"1 % random, bytes stored", 1.0, proven[stages[2]], peer[stages[2]], bytes, "restic"},
		{"restore, wall", 0.6, proven["restore"], peer["restore"], wall, "restic"},
		{"restore, wall until it is on disk", 0.6, proven[onDisk], peer[onDisk], wall, "restic"},
	} {
		got := "not measured"
		if len(p.ours.measures) > 0 && len(p.theirs.measures) > 0 {
			ratio := p.of(p.ours) / p.of(p.theirs)
			got = fmt.Sprintf("%.2f", ratio)
			if ratio > p.aim {
				got += ", missed"
			}
		}
		fmt.Fprintf(&b, "| %s, against %s | at most %.1f | %s |\n", p.what, p.compared, p.aim, got)
	}
	most := int64(0)
	for _, name := range []string{c.names[0], c.names[2]} {
		for _, s := range c.cells[name] {
			most = max(most, s.rss())
		}
	}
	fmt.Fprintf(&b, "| peak memory | under 400 MiB | %d MiB |\n", most>>20)
	return b.String()
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// progress tells on stderr what was just measured; the report is stdout's.
func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
