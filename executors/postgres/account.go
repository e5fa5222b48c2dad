package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// serverAccounts are tried in order when holdfast runs as root, which PostgreSQL refuses.
var serverAccounts = []string{"postgres", "nobody"}

// account is who a scratch server runs as; nil credentials mean the caller.
type account struct{ cred *syscall.Credential }

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range serverAccounts {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return account{&syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
		}
	}
	return account{}, errors.New("find an account to run PostgreSQL as: it refuses root, and neither postgres nor nobody exists; make the account postgres, or run holdfast as another user")
}

// own gives paths to the account.
func (a account) own(paths ...string) error {
	if a.cred == nil {
		return nil
	}
	for _, p := range paths {
		if err := os.Chown(p, int(a.cred.Uid), int(a.cred.Gid)); err != nil {
			return fmt.Errorf("give %s to the account of PostgreSQL: %w", p, err)
		}
	}
	return nil
}

// attributes make a program run as the account.
func (a account) attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Credential: a.cred} }

// name tells a person who that is.
func (a account) name() string {
	uid := os.Geteuid()
	if a.cred != nil {
		uid = int(a.cred.Uid)
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}
