// Command demo does holdfast's main job on real data, through the built binary, and tells it as a story: a database, a
// collection of vectors and a folder are declared, planned, backed up, changed, backed up again, damaged in the store,
// verified, restored elsewhere and compared row by row, point by point and file by file. It ends with 0 only when nothing
// differs.
//
// It is not a test of corner cases; those live beside the code. Everything it makes is in temporary folders and goes away
// at the end, after Ctrl-C too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-io/holdfast/test/pgserver"
	"github.com/holdfast-io/holdfast/test/ragdata"
)

func main() {
	binary := flag.String("holdfast", "bin/holdfast", "the binary to show")
	size := flag.String("size", "300MiB", "about how much data the database holds")
	keep := flag.Bool("keep", false, "keep the folders for a look afterwards (the server ends)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	start := time.Now()
	if err := run(ctx, *binary, *size, *keep); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; everything was removed")
		}
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("\nOK: every row, every point and every file came back as it was (%.0f s).\n", time.Since(start).Seconds())
}

// demo is one run: the folders, the server and what is known of the data.
type demo struct {
	binary string
	work   string // holds everything but the server
	server *pgserver.Server
	qdrant *vectors
	data   ragdata.Database
	out    *story

	earlier moment            // the sources at the first backup
	first   map[string]string // id of the first restore point, by backup
}

func run(ctx context.Context, binary, size string, keep bool) (err error) {
	bytes, err := ragdata.ParseSize(size)
	if err != nil {
		return err
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("find the binary: %w (make build makes it)", err)
	}
	d := &demo{binary: binary, data: ragdata.SizedDatabase(1, bytes), out: &story{w: os.Stdout}}
	var folders []string
	defer func() {
		if d.qdrant != nil {
			err = errors.Join(err, d.qdrant.stop())
		}
		if d.server != nil {
			err = errors.Join(err, d.server.Stop())
		}
		if keep {
			fmt.Printf("\nKept: %v\n", folders)
			return
		}
		for _, f := range folders {
			err = errors.Join(err, os.RemoveAll(f))
		}
	}()
	if d.work, err = os.MkdirTemp("", "holdfast-demo-"); err != nil {
		return err
	}
	folders = append(folders, d.work)
	// The server's account must be able to enter its folder, and no other may enter ours.
	pg, err := os.MkdirTemp("", "hfdemo-pg-")
	if err != nil {
		return err
	}
	folders = append(folders, pg)

	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return d.startSources(ctx, pg) },
		d.declare, d.firstBackup, d.changeSources, d.secondBackup, d.damage, d.restoreDatabase, d.restoreVectors, d.restoreFiles, d.restoreEarlier,
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
