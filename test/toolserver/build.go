package toolserver

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Go returns the path of the program that the Go package pkg makes, building it when this version was never built on this
// machine. The version is pinned by the module in tools/TOOL; its files and the Go version name the cached binary.
func Go(ctx context.Context, tool, pkg string) (string, error) {
	return cached(tool, runtime.Version(), []string{"go.mod", "go.sum"}, tool, func(source, into string) error {
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", into, pkg)
		build.Dir = source
		// A workspace or flags of the surrounding build are not meant for the tool. Nothing else differs from the build of
		// the tests, so that what is compiled of the standard library serves both.
		build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s in %s: %w\n%s", tool, source, err, out)
		}
		return nil
	})
}

// NPM returns the folder node_modules of what tools/TOOL/package-lock.json pins, installing it when this version was never
// installed on this machine. No script of a package runs.
func NPM(ctx context.Context, tool string) (string, error) {
	files := []string{"package.json", "package-lock.json"}
	version, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("find node, which %s needs: %w; run test/setup.sh", tool, err)
	}
	folder, err := cached(tool, strings.TrimSpace(string(version)), files, "install", func(source, into string) error {
		if err := errors.Join(os.RemoveAll(into), os.Mkdir(into, 0o700)); err != nil {
			return err
		}
		for _, name := range files {
			data, err := fs.ReadFile(os.DirFS(source), name)
			if err == nil {
				err = os.WriteFile(filepath.Join(into, name), data, 0o600)
			}
			if err != nil {
				return err
			}
		}
		install := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		install.Dir = into
		if out, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("install %s with npm: %w\n%s", tool, err, out)
		}
		return nil
	})
	return filepath.Join(folder, "node_modules"), err
}

// cached returns the path of name in the cache folder of a tool, letting make write it when it is not there.
//
// Test packages run as processes of their own at the same time, so one makes it under a file lock and the others wait.
func cached(tool, runs string, pins []string, name string, make func(source, into string) error) (string, error) {
	source, err := toolFolder(tool)
	if err != nil {
		return "", err
	}
	cache, err := cacheFolder(source, tool+"-"+runs, pins)
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, name)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close() // releases
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return "", fmt.Errorf("lock %s: %w", cache, err)
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil // somebody else made it while we waited
	}
	if err := make(source, path+".new"); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

// toolFolder finds tools/TOOL above the working directory, which for a test is its package's folder.
func toolFolder(tool string) (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		found := filepath.Join(at, "tools", tool)
		if _, err := os.Stat(found); err == nil {
			return found, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", fmt.Errorf("find tools/%s: not in this folder or one above; run inside the repository", tool)
		}
		at = up
	}
}

func cacheFolder(source, tool string, pins []string) (string, error) {
	sum := sha256.New()
	for _, name := range pins {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		// Without HOME; the user's number keeps one user from running what another one put there.
		base = filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-cache-%d", os.Getuid()))
	}
	path := filepath.Join(base, "holdfast-test", fmt.Sprintf("%s-%s-%x", tool, runtime.GOARCH, sum.Sum(nil)[:8]))
	return path, os.MkdirAll(path, 0o700)
}
