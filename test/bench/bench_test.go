package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tt.in, func(x float64) float64 { return x }); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

func TestTimed(t *testing.T) {
	ctx := context.Background()
	m, err := timed(ctx, command{argv: []string{"sh", "-c", "echo in the pipe"}}, command{argv: []string{"grep", "-q", "in the pipe"}})
	if err != nil {
		t.Fatal(err)
	}
	if m.wall <= 0 || m.rss <= 0 {
		t.Errorf("measured %+v, want a duration and memory", m)
	}
	_, err = timed(ctx, command{argv: []string{"sh", "-c", "echo lost >&2; exit 3"}}, command{argv: []string{"cat"}})
	if err == nil || !strings.Contains(err.Error(), "exit status 3: lost") {
		t.Errorf("a pipeline whose first process fails: %v, want its exit status and words", err)
	}
}

func TestReplaceMeasured(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.md")
	text := "before\n" + measuredBegin + "\nold\n" + measuredEnd + "\nafter\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceMeasured(file, "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Replace(text, "old", "new", 1), string(got)); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(file, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceMeasured(file, "new\n"); err == nil {
		t.Error("a document without marks was accepted")
	}
}

// TestPromises pins which series are compared with which, on measures made up for it.
func TestPromises(t *testing.T) {
	c := &contest{names: []string{"ours", "restic", "ours, unproven", "by hand"}, cells: map[string]map[string]*series{}}
	for i, name := range c.names {
		c.cells[name] = map[string]*series{}
		for k, stage := range append([]string{onDisk}, stages...) {
			s := &series{}
			s.add(measure{wall: time.Duration(i+1) * time.Duration(k+1) * time.Second, rss: int64(100+i) << 20}, int64(10-i)<<20)
			c.cells[name][stage] = s
		}
	}
	c.cells["by hand"]["full"] = &series{}
	want := `| promise | aim | measured |
|---|---|---|
| full, wall, verification included, against restic | at most 0.5 | 0.50 |
| full, wall, verification included, against tar, zstd, age | at most 1.0 | not measured |
| nothing changed, wall, against restic | at most 0.5 | 0.50 |
| 1 % random, bytes stored, against restic | at most 1.0 | 1.11, missed |
| restore, wall, against restic | at most 0.6 | 0.50 |
| restore, wall until it is on disk, against restic | at most 0.6 | 0.50 |
| peak memory | under 400 MiB | 102 MiB |
`
	if diff := cmp.Diff(want, c.promises()); diff != "" {
		t.Errorf("promises (-want +got):\n%s", diff)
	}
}
