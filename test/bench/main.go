// Command bench compares holdfast with what people use today, whole processes on the same data in one run: restic, and
// tar | zstd | age. Then it measures a plan over a large catalog.
//
// Contestants take turns in every round (A B C A B C), so that what the machine does meanwhile meets all of them; the
// table gives medians, and the ratios that the project promises. A tool that is not installed is "not measured". It is no
// test: nothing fails because something is slow. Go benchmarks of single parts live beside the code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-io/holdfast/test/ragdata"
)

type options struct {
	binary   string
	size     int64
	rounds   int
	dir      string
	only     string
	markdown string
	backups  int
	points   int
	qdrant   int64 // bytes of the collection
}

func main() {
	var o options
	size := flag.String("size", "4GiB", "how much data to ingest")
	flag.StringVar(&o.binary, "holdfast", "bin/holdfast", "the binary to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is measured")
	flag.StringVar(&o.dir, "dir", "", "where to work; needs about five times the size (default: a temporary folder)")
	flag.StringVar(&o.only, "only", "ingest,catalog,qdrant", "which parts: ingest, catalog, qdrant (needs a server: HOLDFAST_TEST_QDRANT_URL)")
	flag.StringVar(&o.markdown, "markdown", "", "replace the measured part of this file, as docs/benchmarks.md")
	flag.IntVar(&o.backups, "backups", 10_000, "backups in the catalog")
	flag.IntVar(&o.points, "points", 1_000_000, "restore points in the catalog")
	collection := flag.String("qdrant-size", "2GiB", "how much the collection takes")
	what := flag.String("job", "", "used by the program itself, to make data in another process")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *what != "" {
		var j job
		if j, err = parseJob(*what, flag.Args()); err == nil {
			err = j.run(ctx)
		}
	} else if o.size, err = ragdata.ParseSize(*size); err == nil {
		if o.qdrant, err = ragdata.ParseSize(*collection); err == nil {
			err = run(ctx, o)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.binary, err = filepath.Abs(o.binary); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "holdfast-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var report strings.Builder
	report.WriteString(machine(ctx, o))
	for part := range strings.SplitSeq(o.only, ",") {
		var text string
		switch part {
		case "ingest":
			text, err = ingest(ctx, o, filepath.Join(dir, "ingest"))
		case "catalog":
			text, err = catalog(ctx, o, filepath.Join(dir, "catalog"))
		case "qdrant":
			text, err = vectors(ctx, o, filepath.Join(dir, "qdrant"))
		default:
			err = fmt.Errorf("-only=%s: ingest, catalog, qdrant, or several with commas", part)
		}
		if err != nil {
			return err
		}
		report.WriteString("\n" + text)
	}
	fmt.Print(report.String())
	if o.markdown != "" {
		return replaceMeasured(o.markdown, report.String())
	}
	return nil
}
