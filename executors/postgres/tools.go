package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// finder looks for PostgreSQL's programs.
type finder struct{ only string } // the one folder to search; empty means the usual places

// tool is one program and its version.
type tool struct {
	path    string
	major   int
	version string // such as "15.18"
}

// find returns the program whose major version is at least major, and the nearest to it: an older pg_dump refuses a
// newer server, and a newer one writes what an older server may not read.
func (f finder) find(ctx context.Context, name string, major int) (tool, error) {
	var best, newest tool
	for _, path := range f.candidates(name) {
		t, err := toolVersion(ctx, path)
		if err != nil {
			if ctx.Err() != nil {
				return tool{}, context.Cause(ctx)
			}
			continue // not a working program of PostgreSQL; the others are looked at
		}
		if t.major > newest.major {
			newest = t
		}
		if t.major >= major && (best.path == "" || t.major < best.major) {
			best = t
		}
	}
	if best.path != "" {
		return best, nil
	}
	where := "in /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin and PATH"
	if f.only != "" {
		where = "in " + f.only
	}
	pkg := "postgresql-client"
	if name == "postgres" || name == "initdb" {
		pkg = "postgresql"
	}
	advice := fmt.Sprintf("install the package %s-%d, or set HOLDFAST_PG_BIN to the folder of the program", pkg, major)
	if newest.path != "" {
		return tool{}, fmt.Errorf("find %s: version %s (%s) is too old for PostgreSQL %d; %s", name, newest.version, newest.path, major, advice)
	}
	return tool{}, fmt.Errorf("find %s: there is none %s; %s", name, where, advice)
}

func (f finder) candidates(name string) []string {
	if f.only != "" {
		return existing(filepath.Join(f.only, name))
	}
	var out []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		found, _ := filepath.Glob(filepath.Join(pattern, name))
		out = append(out, found...)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			out = append(out, existing(filepath.Join(dir, name))...)
		}
	}
	return slices.Compact(out)
}

func existing(path string) []string {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return nil
	}
	return []string{path}
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)((?:\.\d+)*)`)

func toolVersion(ctx context.Context, path string) (tool, error) {
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = toolEnv("")
	out, err := cmd.Output()
	if err != nil {
		return tool{}, fmt.Errorf("ask %s for its version: %w", path, err)
	}
	m := versionText.FindStringSubmatch(string(out))
	if m == nil {
		return tool{}, fmt.Errorf("ask %s for its version: it answered %q", path, strings.TrimSpace(string(out)))
	}
	major, err := strconv.Atoi(m[1])
	return tool{path: path, major: major, version: m[1] + m[2]}, err
}

// majorOf reads the major version of texts such as "15.18 (Debian 15.18-0+deb12u1)"; 0 when there is none.
func majorOf(version string) int {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	n, _ := strconv.Atoi(version[:end])
	return n
}
