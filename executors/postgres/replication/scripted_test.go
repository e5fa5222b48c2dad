package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// scripted runs a server that answers each query with what the script says for its first word, and then leaves a
// connection whose script it does not know. It returns a connection to it.
func scripted(t *testing.T, version string, script map[string][]pgproto3.BackendMessage) *Conn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(pgproto3.NewBackend(conn, conn), version, script)
			}()
		}
	}()
	return connect(t, fmt.Sprintf("postgres://u@%s/?sslmode=disable", listener.Addr()))
}

func serve(b *pgproto3.Backend, version string, script map[string][]pgproto3.BackendMessage) {
	first, err := b.ReceiveStartupMessage()
	if _, ok := first.(*pgproto3.StartupMessage); err != nil || !ok {
		return // a request to cancel
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: version})
	b.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		msg, err := b.Receive()
		if err != nil {
			return
		}
		query, ok := msg.(*pgproto3.Query)
		if !ok {
			continue
		}
		word, _, _ := strings.Cut(query.String, " ")
		answer, ok := script[word]
		if !ok {
			return
		}
		for _, m := range answer {
			b.Send(m)
			if _, last := m.(*leave); last {
				_ = b.Flush()
				return
			}
		}
	}
}

type messages = []pgproto3.BackendMessage

func result(rows ...[]string) messages {
	out := messages{&pgproto3.RowDescription{}}
	for _, row := range rows {
		values := make([][]byte, len(row))
		for i, v := range row {
			if v != "NULL" {
				values[i] = []byte(v)
			}
		}
		out = append(out, &pgproto3.DataRow{Values: values})
	}
	return append(out, complete("SELECT"))
}

func complete(tag string) pgproto3.BackendMessage {
	return &pgproto3.CommandComplete{CommandTag: []byte(tag)}
}

func data(text string) pgproto3.BackendMessage { return &pgproto3.CopyData{Data: []byte(text)} }

func script(parts ...any) messages {
	var out messages
	for _, p := range parts {
		switch p := p.(type) {
		case messages:
			out = append(out, p...)
		case pgproto3.BackendMessage:
			out = append(out, p)
		}
	}
	return out
}

var (
	ready   = &pgproto3.ReadyForQuery{TxStatus: 'I'}
	copyOut = &pgproto3.CopyOutResponse{}
	done    = &pgproto3.CopyDone{}
	begun   = result([]string{"0/2000028", "1"})
	ended   = result([]string{"0/2000138", "1"})
	spaces  = result([]string{"16385", "/space", "NULL"}, []string{"NULL", "NULL", "NULL"})
	only    = result([]string{"NULL", "NULL", "2048"})
)

// shape is what a backup looked like from outside.
type shape struct {
	Parts    []string
	Manifest string
	End      Position
	Notices  []string
}

func readShape(t *testing.T, c *Conn, opts BackupOptions) (shape, error) {
	t.Helper()
	var s shape
	opts.IdleLimit = ten
	opts.OnNotice = func(n *pgconn.Notice) { s.Notices = append(s.Notices, n.Message) }
	b, err := c.BaseBackup(t.Context(), opts)
	if err != nil {
		return s, err
	}
	for {
		a, err := b.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s, err
		}
		content, err := io.ReadAll(a)
		if err != nil {
			return s, err
		}
		s.Parts = append(s.Parts, fmt.Sprintf("%s %d %s", a.Name, a.Tablespace.OID, content))
	}
	manifest, err := io.ReadAll(b.Manifest())
	if err != nil {
		return s, err
	}
	s.Manifest = string(manifest)
	s.End, err = b.Finish()
	return s, err
}

func TestBothShapesOfABackup(t *testing.T) {
	warning := &pgproto3.NoticeResponse{Severity: "WARNING", Code: "01000", Message: "block 3 is damaged"}
	old := script(begun, spaces, copyOut, data("ab"), data("c"), done, copyOut, warning, data("def"), done, copyOut, data("{"), data("}"), done, ended, complete("BASE_BACKUP"), ready)
	typed := script(begun, spaces, copyOut, data("n16385.tar\x00/space\x00"), data("dab"), data("p\x00\x00\x00\x00\x00\x00\x00\x02"), data("dc"),
		data("nbase.tar\x00\x00"), warning, data("ddef"), data("m"), data("d{"), data("d}"), done, ended, complete("BASE_BACKUP"), ready)
	want := shape{
		Parts: []string{"16385.tar 16385 abc", "base.tar 0 def"}, Manifest: "{}", End: Position{0x2000138, 1},
		Notices: []string{"block 3 is damaged"},
	}
	for version, answer := range map[string]messages{"13.23": old, "14.23": old, "15.18": typed, "18.4": typed} {
		t.Run(version, func(t *testing.T) {
			c := scripted(t, version, map[string][]pgproto3.BackendMessage{"BASE_BACKUP": answer, "SHOW": script(result([]string{"on"}), ready)})
			got, err := readShape(t, c, BackupOptions{Manifest: true})
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v; backup (-want +got):\n%s", err, diff)
			}
			if got, err := c.Show(t.Context(), "fsync"); got != "on" || err != nil {
				t.Errorf("the connection after it: %q, %v", got, err)
			}
		})
	}
}

func TestBackupsThatAreNone(t *testing.T) {
	corrupt := &pgproto3.ErrorResponse{Severity: "ERROR", Code: codeCorrupted, Message: "checksum verification failure during base backup"}
	broken := &pgproto3.ErrorResponse{Severity: "ERROR", Code: "58030", Message: "could not read file"}
	base := data("nbase.tar\x00\x00")
	for _, test := range []struct {
		name, version string
		answer        messages
		err           string
	}{
		{"refused", "15.1", script(broken, ready), "could not read file"},
		{"no position", "15.1", script(result(), only), "0 start positions"},
		{"a position that is none", "15.1", script(result([]string{"here", "1"}), only), `"here" is no LSN`},
		{"timeline 0", "15.1", script(result([]string{"0/1", "0"}), only), "no timeline"},
		{"a position in one column", "15.1", script(result([]string{"0/1"}), only), "in 1 columns"},
		{"no tablespaces", "15.1", script(begun, result(), copyOut), "does not end with the data folder"},
		{"a tablespace without a place", "15.1", script(begun, result([]string{"1", "NULL", "NULL"}), copyOut), "is none"},
		{"a size that is none", "15.1", script(begun, result([]string{"NULL", "NULL", "-1"}), copyOut), "is none"},
		{"no copy", "15.1", script(begun, only, ended), "where the protocol allows none"},
		{"data first", "15.1", script(begun, only, copyOut, data("dx")), "before the first archive"},
		{"another archive", "15.1", script(begun, only, copyOut, data("n1.tar\x00/x\x00")), "no tablespace of its list"},
		{"an archive twice", "15.1", script(begun, only, copyOut, base, base), "after the last one"},
		{"a manifest unasked", "15.1", script(begun, only, copyOut, base, data("m")), "nobody asked for"},
		{"one copy too many", "14.1", script(begun, only, copyOut, done, copyOut), "nobody asked for"},
		{"an archive too few", "15.1", script(begun, spaces, copyOut, base, done, ended, complete("BASE_BACKUP"), ready), "1 archives of 2"},
		{"cut in the data", "15.1", script(begun, only, copyOut, base, data("dx"), &pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "terminating connection"}), "terminating connection"},
		{"no end position", "15.1", script(begun, only, copyOut, base, done, result(), complete("BASE_BACKUP"), ready), "0 end positions"},
		{"an error at the end", "15.1", script(begun, only, copyOut, base, done, ended, broken, ready), "could not read file"},
		{"corruption before the end", "15.1", script(begun, only, copyOut, base, data("dx"), corrupt, ready), "checksum verification failure"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := readShape(t, scripted(t, test.version, map[string][]pgproto3.BackendMessage{"BASE_BACKUP": test.answer}), BackupOptions{})
			checkError(t, err, test.err)
			var damaged *ChecksumError
			if errors.As(err, &damaged) {
				t.Errorf("%v counts as a whole backup", err)
			}
		})
	}
	t.Run("damaged pages", func(t *testing.T) {
		answer := script(begun, only, copyOut, base, data("dx"), done, ended, corrupt, ready)
		got, err := readShape(t, scripted(t, "15.1", map[string][]pgproto3.BackendMessage{"BASE_BACKUP": answer}), BackupOptions{})
		var damaged *ChecksumError
		if !errors.As(err, &damaged) || got.End != (Position{0x2000138, 1}) {
			t.Errorf("end %v, %v, want the end and a ChecksumError", got.End, err)
		}
	})
	t.Run("the connection breaks before the last word", func(t *testing.T) {
		answer := script(begun, only, copyOut, base, data("dx"), done, ended, &leave{})
		_, err := readShape(t, scripted(t, "15.1", map[string][]pgproto3.BackendMessage{"BASE_BACKUP": answer}), BackupOptions{})
		checkError(t, err, "unexpected EOF")
	})
}

// leave is the beginning of a message that never comes: the server ends the connection in it.
type leave struct{ pgproto3.CopyDone }

func (*leave) Encode(dst []byte) ([]byte, error) {
	return append(dst, 'C', 0, 0), nil
}

// A claimed length is not believed: the message is refused before anything is allocated for it.
func TestHugeMessagesAreRefused(t *testing.T) {
	answer := script(begun, only, copyOut, &huge{})
	_, err := readShape(t, scripted(t, "15.1", map[string][]pgproto3.BackendMessage{"BASE_BACKUP": answer}), BackupOptions{})
	var tooLong *pgproto3.ExceededMaxBodyLenErr
	if !errors.As(err, &tooLong) {
		t.Errorf("error %v, want one of a message that is too long", err)
	}
}

type huge struct{ pgproto3.CopyDone }

func (*huge) Encode(dst []byte) ([]byte, error) { return append(dst, 'd', 0x3f, 0xff, 0xff, 0xff), nil }

func walData(start wal.LSN, text string) pgproto3.BackendMessage {
	b := binary.BigEndian.AppendUint64([]byte("w"), uint64(start))
	return data(string(binary.BigEndian.AppendUint64(b, uint64(start))) + "\x00\x00\x00\x00\x00\x00\x00\x00" + text)
}

func TestStreamsThatAreNone(t *testing.T) {
	both := &pgproto3.CopyBothResponse{}
	for _, test := range []struct {
		name   string
		answer messages
		err    string
	}{
		{"a gap", script(both, walData(0x1000000, "ab"), walData(0x1000003, "c")), "WAL from 0/1000003, want 0/1000002; there is a gap"},
		{"an overlap", script(both, walData(0x1000000, "ab"), walData(0x1000001, "c")), "want 0/1000002"},
		{"another start", script(both, walData(0x2000000, "ab")), "want 0/1000000"},
		{"no message", script(both, data("")), "empty message"},
		{"an unknown message", script(both, data("x")), "type 'x'"},
		{"rows in a copy", script(both, ended), "where the protocol allows none"},
		{"no copy", script(done), "where the protocol allows none"},
		{"an end without a next timeline", script(both, done, result(), ready), "without telling the next one"},
		{"a next timeline that is none", script(both, done, result([]string{"x", "0/1"}), ready), "no timeline"},
		{"an end that is none", script(both, done, result([]string{"2", "x"}), ready), "no LSN"},
		{"killed", script(both, &pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "terminating connection"}), "terminating connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			st, err := scripted(t, "15.1", streaming(test.answer)).Stream(t.Context(), StreamOptions{Start: 0x1000000, Timeline: 1})
			for err == nil {
				_, err = st.Next()
			}
			checkError(t, err, test.err)
			if errors.Is(err, io.EOF) {
				t.Errorf("%v counts as an orderly end", err)
			}
		})
	}
}

func streaming(answer messages) map[string][]pgproto3.BackendMessage {
	return map[string][]pgproto3.BackendMessage{
		"IDENTIFY_SYSTEM":   script(result([]string{"7", "1", "0/3000000", "NULL"}), ready),
		"SHOW":              script(result([]string{"1min"}), ready),
		"START_REPLICATION": answer,
	}
}
