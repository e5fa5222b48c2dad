package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-io/holdfast/executors/postgres/wal"
)

// The messages inside the copy of a stream (manual, "Streaming Replication Protocol", START_REPLICATION).
const (
	walDataMessage   = 'w' // start, end of the server's WAL, time; then bytes
	keepaliveMessage = 'k' // end of the server's WAL, time, whether to reply at once
	statusMessage    = 'r' // written, flushed, applied, time, whether to reply at once

	walDataHead     = 1 + 3*8
	keepaliveLength = 1 + 2*8 + 1
	statusLength    = 1 + 4*8 + 1
)

// epoch is PostgreSQL's beginning of time, 2000-01-01, in microseconds since 1970.
const epoch = 946684800 * int64(time.Second/time.Microsecond)

// Message is a piece of the stream: bytes of WAL, or with Data nil a sign of life.
type Message struct {
	Data      []byte    // valid until the next call of Next
	Start     wal.LSN   // of Data
	ServerEnd wal.LSN   // how far the server's WAL goes
	Time      time.Time // of the server, when it sent the message

	// Confirm asks for a flush: the server waits, as it does while it shuts down, until all up to ServerEnd is confirmed. Make
	// durable what came and call SetFlushed.
	Confirm bool
}

// parseMessage reads a payload; confirm stands for the request to reply.
func parseMessage(msg []byte) (Message, error) {
	if len(msg) == 0 {
		return Message{}, errors.New("the server sent an empty message in the stream")
	}
	switch {
	case msg[0] == walDataMessage && len(msg) > walDataHead:
		return Message{
			Data: msg[walDataHead:], Start: lsnAt(msg[1:]), ServerEnd: lsnAt(msg[9:]), Time: timeAt(msg[17:]),
		}, nil
	case msg[0] == keepaliveMessage && len(msg) == keepaliveLength:
		return Message{ServerEnd: lsnAt(msg[1:]), Time: timeAt(msg[9:]), Confirm: msg[17] != 0}, nil
	}
	return Message{}, fmt.Errorf("the server sent a message of the type %q and %d bytes in the stream, which the protocol does not have", msg[0], len(msg))
}

func lsnAt(b []byte) wal.LSN { return wal.LSN(binary.BigEndian.Uint64(b)) }

func timeAt(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + epoch).UTC()
}

// status encodes a report. Nothing is ever reported as applied: a backup is no standby that queries could be sent to.
func status(written, flushed wal.LSN, now time.Time, reply bool) []byte {
	b := make([]byte, 0, statusLength)
	b = append(b, statusMessage)
	b = binary.BigEndian.AppendUint64(b, uint64(written))
	b = binary.BigEndian.AppendUint64(b, uint64(flushed))
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()-epoch))
	if reply {
		return append(b, 1)
	}
	return append(b, 0)
}
