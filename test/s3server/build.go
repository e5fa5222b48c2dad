package s3server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// binary returns the path of versitygw, building it when this version was never built on this machine. The version is
// pinned by the module in tools/versitygw; its files and the Go version name the cached binary.
//
// Test packages run as processes of their own at the same time, so one builds under a file lock and the others wait.
func binary(ctx context.Context) (string, error) {
	tool, err := toolFolder()
	if err != nil {
		return "", err
	}
	cache, err := cacheFolder(tool)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "versitygw")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
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
	if _, err := os.Stat(bin); err == nil {
		return bin, nil // somebody else built it while we waited
	}
	unfinished := bin + ".new"
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", unfinished,
		"github.com/versity/versitygw/cmd/versitygw")
	build.Dir = tool
	// A workspace or flags of the surrounding build are not meant for the tool. Nothing else differs from the build of
	// the tests, so that what is compiled of the standard library serves both.
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build versitygw in %s: %w\n%s", tool, err, out)
	}
	return bin, os.Rename(unfinished, bin)
}

// toolFolder finds tools/versitygw above the working directory, which for a test is its package's folder.
func toolFolder() (string, error) {
	at, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		tool := filepath.Join(at, "tools", "versitygw")
		if _, err := os.Stat(filepath.Join(tool, "go.mod")); err == nil {
			return tool, nil
		}
		up := filepath.Dir(at)
		if up == at {
			return "", errors.New("find tools/versitygw: not in this folder or one above; run inside the repository")
		}
		at = up
	}
}

func cacheFolder(tool string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(tool, name))
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
	path := filepath.Join(base, "holdfast-test", fmt.Sprintf("versitygw-%s-%s-%x", runtime.Version(), runtime.GOARCH, sum.Sum(nil)[:8]))
	return path, os.MkdirAll(path, 0o700)
}
