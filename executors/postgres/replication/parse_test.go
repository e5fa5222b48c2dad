package replication

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

func TestParseCopyMessage(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     copyMessage
		err      string
	}{
		{"archive", "n16385.tar\x00/space\x00", copyMessage{kind: 'n', name: "16385.tar", path: "/space"}, ""},
		{"data folder", "nbase.tar\x00\x00", copyMessage{kind: 'n', name: "base.tar"}, ""},
		{"data", "dabc\x00", copyMessage{kind: 'd', data: []byte("abc\x00")}, ""},
		{"no data", "d", copyMessage{kind: 'd', data: []byte{}}, ""},
		{"progress", "p12345678", copyMessage{kind: 'p'}, ""},
		{"manifest", "m", copyMessage{kind: 'm'}, ""},
		{"empty", "", copyMessage{}, "empty message"},
		{"unknown", "x", copyMessage{}, "unknown type"},
		{"short progress", "p1234567", copyMessage{}, "in 7 bytes"},
		{"archive without an end", "nbase.tar\x00", copyMessage{}, "without a name and a path"},
		{"archive without a path", "nbase.tar", copyMessage{}, "without a name and a path"},
		{"archive and more", "na\x00b\x00c", copyMessage{}, "without a name and a path"},
		{"manifest and more", "mx", copyMessage{}, "1 bytes too many"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseCopyMessage([]byte(test.in))
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(copyMessage{})); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			checkError(t, err, test.err)
		})
	}
}

func checkError(t *testing.T, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		t.Errorf("error %v, want one with %q", err, part)
	}
}

func FuzzCopyMessage(f *testing.F) {
	for _, seed := range []string{"", "d", "dabc", "m", "p12345678", "nbase.tar\x00\x00", "n1.tar\x00/x\x00", "n\x00", "z"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := parseCopyMessage(in)
		if err != nil {
			return
		}
		if len(m.name)+len(m.path)+len(m.data) > len(in) {
			t.Errorf("%q gave more than it has: %+v", in, m)
		}
		if m.kind == copyArchive && "n"+m.name+"\x00"+m.path+"\x00" != string(in) {
			t.Errorf("%q was read as %+v", in, m)
		}
	})
}

func TestParseMessage(t *testing.T) {
	const eight = "\x00\x00\x00\x01\x00\x00\x00\x02"
	const second = "\x00\x00\x00\x00\x00\x0f\x42\x40" // one second after the epoch
	moment := time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)
	for _, test := range []struct {
		name, in string
		want     Message
		err      string
	}{
		{"data", "w" + eight + eight + second + "abc", Message{Data: []byte("abc"), Start: 1<<32 | 2, ServerEnd: 1<<32 | 2, Time: moment}, ""},
		{"keepalive", "k" + eight + second + "\x00", Message{ServerEnd: 1<<32 | 2, Time: moment}, ""},
		{"question", "k" + eight + second + "\x01", Message{ServerEnd: 1<<32 | 2, Time: moment, Confirm: true}, ""},
		{"no data", "w" + eight + eight + second, Message{}, "type 'w' and 25 bytes"},
		{"short keepalive", "k" + eight + second, Message{}, "type 'k' and 17 bytes"},
		{"long keepalive", "k" + eight + second + "\x00\x00", Message{}, "type 'k' and 19 bytes"},
		{"unknown", "r" + eight, Message{}, "type 'r'"},
		{"empty", "", Message{}, "empty message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseMessage([]byte(test.in))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			checkError(t, err, test.err)
		})
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("w123456781234567812345678data"))
	f.Add([]byte("k12345678\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add(append([]byte("k12345678\x7f\xff\xff\xff\xff\xff\xff\xff"), 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := parseMessage(in)
		if err == nil && m.Data != nil && (len(m.Data) != len(in)-walDataHead || m.Confirm) {
			t.Errorf("%q was read as %+v", in, m)
		}
	})
}

func TestStatus(t *testing.T) {
	got := status(3, 2, time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC), true)
	want := "r\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0f\x42\x40\x01"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if got := status(wal.LSN(1<<64-1), 0, time.Time{}, false); len(got) != statusLength || got[statusLength-1] != 0 {
		t.Errorf("status = %q, want %d bytes and no question", got, statusLength)
	}
}

func TestReportInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1min": 10 * time.Second, "9s": 3 * time.Second, "600ms": 200 * time.Millisecond, "0": statusInterval,
		"24d": statusInterval, "1ms": time.Millisecond, "300": 100 * time.Millisecond,
	} {
		if got, err := reportInterval(text); err != nil || got != want {
			t.Errorf("reportInterval(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "s", "1 s", "-1s", "1x", "99999999999s"} {
		if got, err := reportInterval(text); err == nil {
			t.Errorf("reportInterval(%q) = %v, want an error", text, got)
		}
	}
}

func TestMajorVersion(t *testing.T) {
	for text, want := range map[string]int{"15.18 (Debian 15.18-0+deb12u1)": 15, "18beta1": 18, "13.0": 13, "21": 21} {
		if got, err := majorVersion(text); err != nil || got != want {
			t.Errorf("majorVersion(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for text, part := range map[string]string{"": "cannot be read", "new": "cannot be read", "12.5": "need 13 or newer", "9.6.1": "need 13"} {
		_, err := majorVersion(text)
		checkError(t, err, part)
	}
}

func TestBackupCommand(t *testing.T) {
	all := BackupOptions{
		Label: "it's", Checkpoint: Fast, MaxRate: 1024, Manifest: true, ManifestChecksums: "SHA256", Progress: true, TablespaceMap: true,
		WAL: true, NoWait: true, SkipPageChecksums: true,
	}
	incremental := BackupOptions{Manifest: true, Incremental: true, Checkpoint: Spread}
	for _, test := range []struct {
		name  string
		opts  BackupOptions
		major int
		want  string
	}{
		{"none 14", BackupOptions{}, 14, "BASE_BACKUP"},
		{"none 15", BackupOptions{}, 15, "BASE_BACKUP"},
		{"all 13", all, 13, "BASE_BACKUP LABEL 'it''s' PROGRESS FAST WAL NOWAIT MAX_RATE 1024 TABLESPACE_MAP NOVERIFY_CHECKSUMS MANIFEST 'yes' MANIFEST_CHECKSUMS 'SHA256'"},
		{"all 15", all, 15, "BASE_BACKUP (LABEL 'it''s', PROGRESS, CHECKPOINT 'fast', WAL, WAIT 0, MAX_RATE 1024, TABLESPACE_MAP, VERIFY_CHECKSUMS 0, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256')"},
		{"spread 14", BackupOptions{Checkpoint: Spread}, 14, "BASE_BACKUP"},
		{"incremental", incremental, 17, "BASE_BACKUP (CHECKPOINT 'spread', MANIFEST 'yes', INCREMENTAL)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.opts.check(test.major); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, test.opts.command(test.major)); diff != "" {
				t.Errorf("command (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBackupOptionsAreChecked(t *testing.T) {
	for part, opts := range map[string]BackupOptions{
		"label":              {Label: "a\x00"},
		"neither fast":       {Checkpoint: "quick"},
		"31 kB/s":            {MaxRate: 31},
		"1048577 kB/s":       {MaxRate: 1<<20 + 1},
		"need a manifest":    {ManifestChecksums: "SHA256"},
		"\"MD5\" is unknown": {Manifest: true, ManifestChecksums: "MD5"},
	} {
		checkError(t, opts.check(18), part)
	}
	err := BackupOptions{Incremental: true}.check(16)
	checkError(t, err, "need PostgreSQL 17, the server is 16")
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("%v is not ErrUnsupported", err)
	}
}
