package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool is a contestant. All paths are below the folder it was made with; source is what it backs up.
type tool interface {
	name() string
	missing() string // what is not installed, "" when it can run
	// ingest backs the source up. The first call makes the store, and that is part of the measure.
	ingest(ctx context.Context) (measure, error)
	// restore brings the newest copy back into an empty folder.
	restore(ctx context.Context, target string) (measure, error)
	store() string
}

func lookFor(programs ...string) string {
	var lost []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			lost = append(lost, p)
		}
	}
	return strings.Join(lost, ", ")
}

// holdfast backs the source up by a policy of its own.
type holdfast struct {
	binary, dir string
	source      string // a folder
	verify      string // of the policy
	blocks      string // source and method of the policy in place of the folder
	made        bool
}

func (h *holdfast) name() string    { return fmt.Sprintf("holdfast, verify after = %q", h.verify) }
func (h *holdfast) store() string   { return filepath.Join(h.dir, "store") }
func (h *holdfast) missing() string { return lookFor(h.binary) }

func (h *holdfast) command(args ...string) command {
	return command{[]string{h.binary, args[0]}, filepath.Join(h.dir, "policy"), []string{"HOLDFAST_IDENTITY_FILE=" + filepath.Join(h.dir, "key")}}.with(args[1:]...)
}

func (c command) with(args ...string) command {
	c.argv = append(c.argv, args...)
	return c
}

const benchPolicy = `store "main" {
  url = "file://%s"
  encryption { recipients = ["%s"] }
}
%s
backup "data" {
  store = store.main
  verify { after = "%s" }
%s}
`

// prepare writes key and policy, as an administrator does once; init is measured with the first ingest.
func (h *holdfast) prepare(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(h.dir, "policy"), 0o700); err != nil {
		return err
	}
	recipient, err := exec.CommandContext(ctx, h.binary, "key", "generate", "-out="+filepath.Join(h.dir, "key")).Output()
	if err != nil {
		return fmt.Errorf("generate key: %w", err)
	}
	source, inside, ok := strings.Cut(h.blocks, "\n---\n")
	if !ok {
		source, inside = fmt.Sprintf("source \"files\" \"data\" { root = %q }", h.source), "  source = source.files.data\n"
	}
	text := fmt.Sprintf(benchPolicy, h.store(), strings.TrimSpace(string(recipient)), source, h.verify, inside)
	return os.WriteFile(filepath.Join(h.dir, "policy", "bench.hf.hcl"), []byte(text), 0o600)
}

func (h *holdfast) ingest(ctx context.Context) (measure, error) {
	apply := h.command("apply", "-auto-approve", "-force=backup.data")
	if h.made {
		return timed(ctx, apply)
	}
	if err := h.prepare(ctx); err != nil {
		return measure{}, err
	}
	h.made = true
	return inTurn(ctx, h.command("init"), apply)
}

func (h *holdfast) restore(ctx context.Context, target string) (measure, error) {
	return timed(ctx, h.command("restore", "backup.data", "-target="+target, "-auto-approve"))
}

// inTurn runs commands one after the other and adds them up.
func inTurn(ctx context.Context, commands ...command) (sum measure, err error) {
	for _, c := range commands {
		m, err := timed(ctx, c)
		if err != nil {
			return sum, err
		}
		sum.wall, sum.cpu, sum.rss = sum.wall+m.wall, sum.cpu+m.cpu, max(sum.rss, m.rss)
	}
	return sum, nil
}

// restic is restic with its defaults.
type restic struct {
	dir, source string
	made        bool
}

func (r *restic) name() string    { return "restic " + resticVersion() }
func (r *restic) store() string   { return filepath.Join(r.dir, "store") }
func (r *restic) missing() string { return lookFor("restic") }

func resticVersion() string {
	out, err := exec.Command("restic", "version").Output()
	if fields := strings.Fields(string(out)); err == nil && len(fields) > 1 {
		return fields[1]
	}
	return "(unknown version)"
}

func (r *restic) command(args ...string) command {
	return command{append([]string{"restic", "-q"}, args...), r.dir, []string{
		"RESTIC_REPOSITORY=" + r.store(), "RESTIC_PASSWORD_FILE=" + filepath.Join(r.dir, "password"),
		"RESTIC_CACHE_DIR=" + filepath.Join(r.dir, "cache"),
	}}
}

func (r *restic) ingest(ctx context.Context) (measure, error) {
	backup := r.command("backup", r.source)
	if r.made {
		return timed(ctx, backup)
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return measure{}, err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "password"), []byte("correct horse battery staple\n"), 0o600); err != nil {
		return measure{}, err
	}
	r.made = true
	return inTurn(ctx, r.command("init"), backup)
}

func (r *restic) restore(ctx context.Context, target string) (measure, error) {
	return timed(ctx, r.command("restore", "latest", "--target", target))
}

// archive is what one writes by hand: tar | zstd | age. It has no increments: each ingest is a whole copy.
type archive struct {
	dir, source string
	made        bool
	recipient   string
}

func (a *archive) name() string    { return "tar, zstd -3 -T2, age" }
func (a *archive) store() string   { return filepath.Join(a.dir, "store") }
func (a *archive) missing() string { return lookFor("tar", "zstd", "age", "age-keygen") }
func (a *archive) file() string    { return filepath.Join(a.store(), "data.tar.zst.age") }
func (a *archive) key() string     { return filepath.Join(a.dir, "key") }

func (a *archive) ingest(ctx context.Context) (measure, error) {
	if !a.made {
		if err := os.MkdirAll(a.store(), 0o700); err != nil {
			return measure{}, err
		}
		if err := exec.CommandContext(ctx, "age-keygen", "-o", a.key()).Run(); err != nil {
			return measure{}, fmt.Errorf("generate key: %w", err)
		}
		out, err := exec.CommandContext(ctx, "age-keygen", "-y", a.key()).Output()
		if err != nil {
			return measure{}, fmt.Errorf("read key: %w", err)
		}
		a.made, a.recipient = true, strings.TrimSpace(string(out))
	}
	if err := os.Remove(a.file()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return measure{}, err
	}
	return timed(
		ctx, command{argv: []string{"tar", "-C", a.source, "-c", "."}}, command{argv: []string{"zstd", "-3", "-T2", "-q", "-c"}},
		command{argv: []string{"age", "-r", a.recipient, "-o", a.file()}},
	)
}

func (a *archive) restore(ctx context.Context, target string) (measure, error) {
	if err := os.Mkdir(target, 0o700); err != nil {
		return measure{}, err
	}
	return timed(
		ctx, command{argv: []string{"age", "-d", "-i", a.key(), a.file()}}, command{argv: []string{"zstd", "-d", "-q", "-c"}},
		command{argv: []string{"tar", "-C", target, "-x"}},
	)
}
