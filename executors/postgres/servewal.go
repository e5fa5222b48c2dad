package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
)

// Pipes of a walServer, in the folder above the data directory, in which a server runs its commands.
const (
	askPipe    = "ask"
	answerPipe = "answer"
)

// askCommand is the restore_command of a server that a walServer serves. Whatever goes wrong ends in a code that stops recovery:
// up to 125 PostgreSQL takes for the end of the log.
const askCommand = `echo '%f %p' >../` + askPipe + ` && read -r c <../` + answerPipe + ` && case $c in 0|1) exit $c;; esac; exit 126`

// walServer hands a recovering scratch server the WAL that it asks for. It runs in this process, so that the server's account
// needs neither keys nor credentials of the store. A server asks for one file at a time.
type walServer struct {
	archive executors.WALArchive
	system  string
	segment int64
	account account

	root        *os.Root // the data directory: what the server's account puts there leads nowhere else
	ask, answer *os.File
	failed      atomic.Pointer[error]
	cancel      context.CancelFunc
	done        chan struct{}
}

// serveWAL begins to serve the cluster in folder. The caller calls close.
func serveWAL(ctx context.Context, archive executors.WALArchive, doc *basebackup.Document, folder string, a account) (_ *walServer, err error) {
	w := &walServer{archive: archive, system: doc.System, segment: doc.SegmentSize, account: a, done: make(chan struct{})}
	defer func() {
		if err != nil {
			err = fmt.Errorf("serve WAL to the scratch server: %w", errors.Join(err, w.release()))
		}
	}()
	if w.root, err = os.OpenRoot(filepath.Join(folder, clusterData)); err != nil {
		return nil, err
	}
	if w.ask, err = makePipe(filepath.Join(folder, askPipe), a); err != nil {
		return nil, err
	}
	if w.answer, err = makePipe(filepath.Join(folder, answerPipe), a); err != nil {
		return nil, err
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go w.serve(ctx)
	return w, nil
}

// makePipe makes a named pipe and opens both of its ends, so that no one on the other side waits for it to be opened.
func makePipe(path string, a account) (*os.File, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	if err := a.own(path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR, 0)
}

func (w *walServer) serve(ctx context.Context) {
	defer close(w.done)
	for lines := bufio.NewScanner(w.ask); lines.Scan(); {
		code := 0
		if err := w.serveOne(ctx, lines.Text()); errors.Is(err, executors.ErrNoWAL) {
			code = 1
		} else if err != nil {
			code = 126
			w.failed.CompareAndSwap(nil, &err)
		}
		if _, err := fmt.Fprintln(w.answer, code); err != nil {
			return // closed
		}
	}
}

// serveOne writes one file to where the server wants it: "NAME PATH", the path within the data directory.
func (w *walServer) serveOne(ctx context.Context, asked string) (err error) {
	name, path, _ := strings.Cut(asked, " ")
	f, err := w.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("serve %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = w.root.Remove(path)
		}
	}()
	_, err = w.archive.Fetch(ctx, w.system, name, w.segment, f)
	if c := w.account.cred; c != nil {
		err = errors.Join(err, f.Chown(int(c.Uid), int(c.Gid)))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("serve %s: %w", name, err)
	}
	return nil
}

// failure is why a file could not be served, nil when each was served or is not there.
func (w *walServer) failure() error {
	if w == nil {
		return nil
	}
	if p := w.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// close ends what is under way and waits for it.
func (w *walServer) close() error {
	if w == nil {
		return nil
	}
	w.cancel()
	err := w.release()
	<-w.done
	return err
}

func (w *walServer) release() error {
	var errs []error
	for _, f := range []*os.File{w.ask, w.answer} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if w.root != nil {
		errs = append(errs, w.root.Close())
	}
	return errors.Join(errs...)
}
