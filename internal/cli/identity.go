package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"filippo.io/age"

	"github.com/holdfast-io/holdfast/policy"
)

func (a *app) identityFlag(f *flags) *[]string {
	return f.list("identity", "FILE", "age identity file with this host's secret key; also HOLDFAST_IDENTITY_FILE or `identity` in the holdfast block")
}

// identities reads the secret keys this invocation may use: -identity, else HOLDFAST_IDENTITY_FILE, else the policy's.
func (a *app) identities(s policy.Settings, given *[]string) ([]age.Identity, error) {
	files := []string{}
	if given != nil {
		files = append(files, *given...)
	}
	if env := a.getenv("HOLDFAST_IDENTITY_FILE"); len(files) == 0 && env != "" {
		files = strings.Split(env, string(os.PathListSeparator))
	}
	if len(files) == 0 && s.Identity != "" {
		files = []string{a.path(s.Identity)}
	}
	var all []age.Identity
	for _, name := range files {
		ids, err := a.readIdentity(name)
		if err != nil {
			return nil, err
		}
		all = append(all, ids...)
	}
	return all, nil
}

func (a *app) readIdentity(name string) ([]age.Identity, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read identity file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		a.err.Warning(fmt.Sprintf("identity file %s can be read by others (mode %04o); run `chmod 600 %s`", name, info.Mode().Perm(), name))
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read identity file: %w", err)
	}
	if bytes.HasPrefix(data, []byte("age-encryption.org/")) || bytes.HasPrefix(data, []byte("-----BEGIN AGE")) {
		return nil, fmt.Errorf("identity file %s is itself encrypted; decrypt it first: age -d %s > KEYFILE", name, name)
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		// age's error may quote the line, which is a secret key.
		return nil, fmt.Errorf("identity file %s does not hold age secret keys (lines that begin with AGE-SECRET-KEY-)", name)
	}
	return ids, nil
}
