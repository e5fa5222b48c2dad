package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-io/holdfast/test/ragdata"
)

// configTree gives about a thousand configuration and Markdown files.
var configTree = ragdata.Tree{Seed: 2, Size: 512 << 20}

// writeConfig makes a folder as it lies under /etc: many small files, and one of each thing that a copy easily loses.
func writeConfig(dir string) error {
	if err := configTree.WriteSmallFiles(dir); err != nil {
		return err
	}
	sparse, err := os.OpenFile(filepath.Join(dir, "sparse.db"), os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer sparse.Close()
	if _, err := sparse.WriteAt([]byte("the only bytes"), 64<<20); err != nil {
		return err
	}
	old := time.Date(2019, 4, 5, 6, 7, 8, 123456789, time.UTC)
	for _, make := range []func() error{
		func() error { return os.WriteFile(filepath.Join(dir, "secret.env"), []byte("TOKEN=abc\n"), 0o600) },
		func() error {
			return os.WriteFile(filepath.Join(dir, "reload.sh"), []byte("#!/bin/sh\nkill -HUP 1\n"), 0o755)
		},
		func() error { return os.WriteFile(filepath.Join(dir, "empty"), nil, 0o444) },
		func() error {
			return os.WriteFile(filepath.Join(dir, "mit Leerzeichen und ümlaut.yaml"), []byte("a: 1\n"), 0o644)
		},
		func() error { return os.Symlink("config/tenant-000", filepath.Join(dir, "current")) },
		func() error { return os.Symlink("/nowhere/at/all", filepath.Join(dir, "dangling")) },
		func() error { return os.Link(filepath.Join(dir, "reload.sh"), filepath.Join(dir, "reload-too.sh")) },
		func() error { return os.Mkdir(filepath.Join(dir, "empty-folder"), 0o750) },
		func() error { return os.Chmod(filepath.Join(dir, "reload.sh"), 0o755) },
		func() error { return os.Chtimes(filepath.Join(dir, "secret.env"), old, old) },
		func() error { return os.Chtimes(filepath.Join(dir, "empty-folder"), old, old) },
	} {
		if err := make(); err != nil {
			return err
		}
	}
	return sparse.Close()
}

// changeConfig edits, adds, removes and chmods a few files.
func changeConfig(dir string) error {
	if _, err := configTree.ChangeSmallFiles(dir, 1); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "new.yaml"), []byte("added: later\n"), 0o640); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "dangling")); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(dir, "reload.sh"), 0o700)
}

// describe tells everything of a tree that must come back, a line per entry by name: kind, mode, owner, time, size,
// content, target of a link, and which names are one file.
func describe(root string) (map[string]string, error) {
	lines := map[string]string{}
	firstName := map[uint64]string{} // inode → the first name in order
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%v owner %d:%d", info.Mode(), stat.Uid, stat.Gid)
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d bytes %x", info.Size(), sha256.Sum256(content))
			if stat.Nlink > 1 {
				if firstName[stat.Ino] == "" {
					firstName[stat.Ino] = name
				}
				line += " is " + firstName[stat.Ino]
			}
			fallthrough
		case info.IsDir():
			line += " changed " + info.ModTime().UTC().Format(time.RFC3339Nano)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		lines[name] = line
		return nil
	})
	return lines, err
}

// differences returns a sentence for each entry that differs, the first ten of them.
func differences(want, got map[string]string) error {
	var list []string
	names := maps.Clone(want)
	maps.Copy(names, got)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		switch w, g := want[name], got[name]; {
		case w == g:
		case g == "":
			list = append(list, name+" is missing")
		case w == "":
			list = append(list, name+" was not there")
		default:
			list = append(list, fmt.Sprintf("%s\n    was  %s\n    is   %s", name, w, g))
		}
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%d entries differ:\n  %s", len(list), strings.Join(list[:min(10, len(list))], "\n  "))
}
