package postgres

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
)

// TestServeWAL: the command ends with 0 for a file that was served, 1 for one that is proven absent, and 126 for all else; it
// writes nowhere but into the data directory.
func TestServeWAL(t *testing.T) {
	folder, archive := t.TempDir(), t.TempDir()
	data := filepath.Join(folder, clusterData)
	if err := os.MkdirAll(filepath.Join(data, "pg_wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(archive, filepath.Join(data, "out")); err != nil {
		t.Fatal(err)
	}
	const segment = "000000010000000000000007"
	if err := os.WriteFile(filepath.Join(archive, segment), []byte("the log"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := serveWAL(t.Context(), folderArchive{dir: archive, before: func(name string) error {
		if name == "broken" {
			return errInjected
		}
		return nil
	}}, &basebackup.Document{}, folder, account{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		code       int
	}{
		{segment, "pg_wal/RECOVERYXLOG", 0},
		{"00000002.history", "pg_wal/RECOVERYHISTORY", 1},
		{segment, "../outside", 126},
		{segment, "out/side", 126},
		{segment, "/tmp/hf-outside", 126},
		{"broken", "pg_wal/half", 126},
		{segment, "pg_wal/RECOVERYXLOG", 0},
	} {
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.NewReplacer("%f", c.name, "%p", c.path).Replace(askCommand))
		cmd.Dir = data
		var exit *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != c.code {
			t.Errorf("%s to %s: %v, want code %d", c.name, c.path, err, c.code)
		}
		text, err := os.ReadFile(filepath.Join(data, c.path))
		if c.code == 0 && string(text) != "the log" || c.code != 0 && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s to %s: there is %q (%v)", c.name, c.path, text, err)
		}
	}
	if err := w.failure(); err == nil || !strings.Contains(err.Error(), segment) {
		t.Errorf("the first failure is %v", err)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}
