package executortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/policy"
)

// Harness is what the suite needs to know of a kind of source.
type Harness struct {
	Executor executors.Executor
	// Source makes a fresh source that holds something, at least a few KiB of content, and a backup that reads all of it.
	Source func(t *testing.T) (policy.Source, policy.Backup)
	// Target names a fresh place that does not exist yet, another at each call.
	Target func(t *testing.T) executors.Target
	// Occupy puts at a target something that Restore must not overwrite unasked and that Replace makes equal to the source.
	Occupy func(t *testing.T, at executors.Target)
	// SourceImage and TargetImage render all that must survive, one line a fact, so that equal data gives equal text.
	// TargetImage of a target that does not exist is empty.
	SourceImage func(t *testing.T, src policy.Source) string
	TargetImage func(t *testing.T, at executors.Target) string
	// Only and Options go into every restore request.
	Only    []string
	Options map[string]string
	// Checks are asked in rehearsals, when the executor is an executors.Rehearser: one that holds, one that does not, one that
	// cannot be answered.
	Checks func(src policy.Source) (holds, fails, broken policy.Check)
	// Scratch makes an empty folder for rehearsals; nil means t.TempDir.
	Scratch func(t *testing.T) string
	// Secrets are strings that must never show up in errors, logs or results.
	Secrets []string
	// Soon is how quickly a cancelled call must end; 0 means 30 s.
	Soon time.Duration
}

// errInjected is what injected faults answer.
var errInjected = errors.New("injected fault")

// Run proves the contract of package executors on one implementation.
func Run(t *testing.T, h Harness) {
	if h.Soon == 0 {
		h.Soon = 30 * time.Second
	}
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"inspect knows the source", (*suite).inspect},
		{"round trip", (*suite).roundTrip},
		{"restore refuses an existing target", (*suite).refuses},
		{"replace makes the target equal", (*suite).replaces},
		{"a supply that fails leaves no target", (*suite).failsAbsent},
		{"a supply that fails leaves the old target", (*suite).failsOccupied},
		{"a cancelled restore ends soon and leaves nothing", (*suite).cancelRestore},
		{"a cancelled backup ends soon", (*suite).cancelBackup},
		{"a cancelled verification ends soon", (*suite).cancelVerify},
		{"preview tells and writes nothing", (*suite).preview},
		{"verify reads everything", (*suite).verify},
		{"verify finds damage", (*suite).verifyDamage},
		{"a sink that fails ends the backup", (*suite).sinkFails},
		{"content that cannot be stored ends the backup", (*suite).contentFails},
		{"backup changes nothing", (*suite).backupReadsOnly},
		{"backups run concurrently", (*suite).concurrent},
		{"a rehearsal restores, asks and leaves nothing", (*suite).rehearse},
		{"a rehearsal of damage blames the restore point", (*suite).rehearseDamage},
		{"a rehearsal without a place blames the place", (*suite).rehearseNowhere},
		{"a cancelled rehearsal ends soon and leaves nothing", (*suite).cancelRehearsal},
		{"rehearsals run concurrently", (*suite).rehearseTwice},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{T: t, h: h, store: NewStore()}
			s.log = slog.New(slog.NewTextHandler(&s.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
			s.src, s.backup = h.Source(t)
			c.test(s)
			s.checkSecrets()
		})
	}
}

// suite is one test of the suite.
type suite struct {
	*testing.T
	h      Harness
	store  *Store
	src    policy.Source
	backup policy.Backup
	log    *slog.Logger
	logged syncBuffer
	said   []string // errors and results, to be searched for secrets
}

// syncBuffer is a buffer that several goroutines may log to.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (s *suite) heard(v any, err error) {
	s.said = append(s.said, fmt.Sprintf("%+v", v))
	if err != nil {
		s.said = append(s.said, err.Error(), fmt.Sprintf("%+v", err))
	}
}

func (s *suite) checkSecrets() {
	all := append(s.said, s.logged.String())
	for _, secret := range s.h.Secrets {
		for _, text := range all {
			if strings.Contains(text, secret) {
				s.Errorf("a secret shows up in: %s", strings.ReplaceAll(text, secret, "<SECRET>"))
			}
		}
	}
}

// tryBackup backs the source up into a new point.
func (s *suite) tryBackup(ctx context.Context, point string, f Faults) (*Sink, executors.Result, error) {
	sink := s.store.Sink(point, f)
	res, err := s.h.Executor.Backup(ctx, executors.BackupRequest{Source: s.src, Backup: s.backup, Point: point, Log: s.log}, sink)
	s.heard(res, err)
	s.store.Commit(sink, res)
	return sink, res, err
}

// supply backs up and opens the point, or ends the test.
func (s *suite) supply() *Supply {
	s.Helper()
	_, res, err := s.tryBackup(s.Context(), "p1", Faults{})
	if err != nil {
		s.Fatalf("backup: %v", err)
	}
	for _, p := range res.Problems {
		if p.Missing {
			s.Fatalf("backup reports %s missing: %v", p.Path, p.Err)
		}
	}
	if res.Items == 0 || res.Bytes == 0 {
		s.Fatalf("backup counts %d items and %d bytes; both must count what was read", res.Items, res.Bytes)
	}
	return s.store.Supply("p1")
}

func (s *suite) request(at executors.Target, replace bool) executors.RestoreRequest {
	return executors.RestoreRequest{
		Source: s.src, Backup: s.backup, Target: at, Only: s.h.Only, Options: s.h.Options, Replace: replace, Log: s.log,
	}
}

func (s *suite) restore(ctx context.Context, at executors.Target, replace bool, from *Supply) (executors.Result, error) {
	res, err := s.h.Executor.Restore(ctx, s.request(at, replace), from)
	s.heard(res, err)
	return res, err
}

func (s *suite) mustEqual(at executors.Target) {
	s.Helper()
	if d := cmp.Diff(s.h.SourceImage(s.T, s.src), s.h.TargetImage(s.T, at)); d != "" {
		s.Errorf("the restored target differs from the source (-want +got):\n%s", d)
	}
}

func (s *suite) mustStay(what string, at executors.Target, before string) {
	s.Helper()
	if d := cmp.Diff(before, s.h.TargetImage(s.T, at)); d != "" {
		s.Errorf("%s changed the target (-before +after):\n%s", what, d)
	}
}

// soon runs call with a context that trigger ends, and demands that it ends in time with an error.
func (s *suite) soon(call func(ctx context.Context, trigger func()) error) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- call(ctx, cancel) }()
	select {
	case err := <-done:
		if ctx.Err() == nil {
			s.Fatalf("the call ended before it was cancelled (error: %v); the harness's source is too small", err)
		}
		if err == nil {
			s.Error("a cancelled call answers success")
		}
	// Twice the time: the call first has to reach the point where it is cancelled.
	case <-time.After(2 * s.h.Soon):
		s.Fatalf("a cancelled call did not end within %s", s.h.Soon)
	}
}
