package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// measure is one measured command or pipeline.
type measure struct {
	wall time.Duration
	cpu  time.Duration
	rss  int64 // bytes, of the largest process
}

// command is one process of a pipeline.
type command struct {
	argv []string
	dir  string
	env  []string
}

// timed runs a pipeline to its end. Every process must succeed.
func timed(ctx context.Context, pipeline ...command) (measure, error) {
	syscall.Sync() // what others left to be written is not ours to wait for
	cmds := make([]*exec.Cmd, len(pipeline))
	errs := make([]bytes.Buffer, len(pipeline))
	for i, p := range pipeline {
		cmds[i] = exec.CommandContext(ctx, p.argv[0], p.argv[1:]...)
		cmds[i].Dir, cmds[i].Env, cmds[i].Stderr = p.dir, append(os.Environ(), p.env...), &errs[i]
		if i > 0 {
			out, err := cmds[i-1].StdoutPipe()
			if err != nil {
				return measure{}, err
			}
			cmds[i].Stdin = out
		}
	}
	cmds[len(cmds)-1].Stdout = io.Discard
	start := time.Now()
	for i, c := range cmds {
		if err := c.Start(); err != nil {
			return measure{}, fmt.Errorf("start %s: %w", pipeline[i].argv[0], err)
		}
	}
	var failed error
	for i := len(cmds) - 1; i >= 0; i-- { // the last first: Wait closes the pipe it reads from
		if err := cmds[i].Wait(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w: %s", strings.Join(pipeline[i].argv, " "), err, errs[i].String()))
		}
	}
	m := measure{wall: time.Since(start)}
	for _, c := range cmds {
		m.cpu += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		if usage, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			m.rss = max(m.rss, usage.Maxrss*1024) // Linux counts KiB
		}
	}
	return m, failed
}

// folderSize is the sum of the sizes of the files in a folder.
func folderSize(dir string) (int64, error) {
	total := int64(0)
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// warm reads a folder, so that everybody finds it in the page cache.
func warm(dir string) error {
	buf := make([]byte, 1<<20)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(onlyWriter{io.Discard}, f, buf)
		return err
	})
}

// onlyWriter hides ReadFrom, which would ignore the buffer.
type onlyWriter struct{ io.Writer }

// series is the measures of one cell over the rounds.
type series struct {
	measures []measure
	stored   []int64 // bytes that the store grew by
}

func (s *series) add(m measure, stored int64) {
	s.measures, s.stored = append(s.measures, m), append(s.stored, stored)
}

func (s *series) wall() float64 {
	return median(s.measures, func(m measure) float64 { return m.wall.Seconds() })
}

func (s *series) cpu() float64 {
	return median(s.measures, func(m measure) float64 { return m.cpu.Seconds() })
}

func (s *series) bytes() float64 {
	return median(s.stored, func(n int64) float64 { return float64(n) })
}

// rss is the largest of all rounds: a limit is a limit.
func (s *series) rss() int64 {
	most := int64(0)
	for _, m := range s.measures {
		most = max(most, m.rss)
	}
	return most
}

func median[T any](list []T, of func(T) float64) float64 {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = of(v)
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
