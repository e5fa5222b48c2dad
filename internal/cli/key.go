package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
)

var keyCommand = &command{
	name: "key generate", group: "Author", summary: "Make a key pair: the secret half into a file, the public half on screen",
	usage: "-out=FILE [-post-quantum]",
	examples: `  holdfast key generate -out=recovery.key -post-quantum   # keep the file offline; put the recipient into the policy
  holdfast key generate -out=/etc/holdfast/host.key       # a writer key for a backup host`,
	define: func(a *app, f *flags) func(context.Context, []string) error {
		out := f.string("out", "FILE", "", "write the secret key to FILE, which must not exist")
		pq := f.Bool("post-quantum", false, "make a hybrid key that also resists quantum computers (ML-KEM-768 with X25519)")
		return func(_ context.Context, args []string) error {
			if len(args) > 0 || *out == "" {
				return usageError("key generate needs -out=FILE")
			}
			return a.generateKey(*out, *pq)
		}
	},
}

func (a *app) generateKey(out string, postQuantum bool) error {
	secret, recipient, err := newKey(postQuantum)
	if err != nil {
		return fmt.Errorf("generate key: %w", err)
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write key: %s exists already, and a key is never overwritten; choose another name", out)
	}
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = fmt.Fprintf(f, "# created: %s\n# public key: %s\n%s\n", a.Now().UTC().Format(time.RFC3339), recipient, secret)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write key: %w", err), os.Remove(out))
	}
	if abs, err := filepath.Abs(out); err == nil {
		out = abs
	}
	if a.json {
		return a.out.Document(map[string]any{"format_version": "1.0", "recipient": recipient, "identity_file": out})
	}
	fmt.Fprintf(a.err, "The secret key is in %s. Whoever has it can read; without it nothing can be restored: keep a copy offline.\nRecipient for the policy:\n", out)
	fmt.Fprintln(a.out, recipient)
	return nil
}

func newKey(postQuantum bool) (secret, recipient string, err error) {
	if postQuantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return "", "", err
		}
		return id.String(), id.Recipient().String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", err
	}
	return id.String(), id.Recipient().String(), nil
}
