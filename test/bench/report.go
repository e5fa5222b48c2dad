package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"
)

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// hexOf is a SHA-256 that looks like any other.
func hexOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// machine says where and with what the figures were measured: they mean little elsewhere.
func machine(ctx context.Context, o options) string {
	version := "unknown"
	if out, err := exec.CommandContext(ctx, o.binary, "version").Output(); err == nil {
		version = strings.TrimSpace(string(bytes.SplitN(out, []byte("\n"), 2)[0]))
	}
	memory := "unknown"
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d", &kib); err == nil {
			memory = fmt.Sprintf("%d GiB", kib>>20)
		}
	}
	processor := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`model name\s*: (.*)`).FindSubmatch(b); m != nil {
			processor = string(m[1])
		}
	}
	return fmt.Sprintf("Measured %s by `make bench`: %s; %d processors (%s), %s of memory, local disk, warm page cache.\n",
		time.Now().UTC().Format(time.DateOnly), version, runtime.NumCPU(), processor, memory)
}

// The measured part of a document stands between these lines.
const (
	measuredBegin = "<!-- measured: written by make bench -->"
	measuredEnd   = "<!-- end of measured -->"
)

// replaceMeasured puts the report between the two marks of a document.
func replaceMeasured(file, report string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), measuredBegin)
	_, after, ok2 := strings.Cut(rest, measuredEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no %q and %q", file, measuredBegin, measuredEnd)
	}
	return os.WriteFile(file, []byte(before+measuredBegin+"\n"+report+measuredEnd+after), 0o644)
}
