package qdrantserver

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
)

// errCut ends a body that a fault has cut; the handler sees a client that left.
var errCut = errors.New("body was cut by a fault")

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// faultyWriter lets an answer out with a fault in it.
type faultyWriter struct {
	http.ResponseWriter
	f        *Fault
	out      int64
	duringAt int64
	told     bool
	headed   bool
	finished bool
}

func (w *faultyWriter) WriteHeader(status int) {
	w.headed = true
	if length, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64); err == nil && w.f.Clean && w.f.CutAfter > 0 && w.f.CutAfter < length {
		w.Header().Set("Content-Length", strconv.FormatInt(w.f.CutAfter, 10))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	if !w.headed {
		w.WriteHeader(http.StatusOK)
	}
	whole := len(p)
	for len(p) > 0 {
		if w.f.CutAfter > 0 && w.out >= w.f.CutAfter {
			return 0, w.cut()
		}
		part := p
		// Stop exactly where During has to be called and where the body is to end.
		for _, mark := range []int64{w.duringAt, w.f.CutAfter} {
			if left := mark - w.out; left > 0 && left < int64(len(part)) {
				part = part[:left]
			}
		}
		if err := w.send(part); err != nil {
			return 0, err
		}
		p = p[len(part):]
		if w.out >= w.duringAt {
			w.during()
		}
	}
	if w.f.CutAfter > 0 && w.out >= w.f.CutAfter {
		return whole, w.cut()
	}
	return whole, nil
}

func (w *faultyWriter) send(part []byte) error {
	if at := w.f.Corrupt - w.out; w.f.Corrupt > 0 && at >= 0 && at < int64(len(part)) {
		part = bytes.Clone(part)
		part[at] ^= 0x10
	}
	k, err := w.ResponseWriter.Write(part)
	w.out += int64(k)
	return err
}

// cut ends the body, properly or not.
func (w *faultyWriter) cut() error {
	w.Flush()
	if !w.f.Clean {
		panic(http.ErrAbortHandler)
	}
	w.finished = true
	return errCut
}

// during calls the hook once, when what was written has really left.
func (w *faultyWriter) during() {
	if w.told || w.f.During == nil {
		return
	}
	w.told = true
	w.Flush()
	w.f.During()
}

func (w *faultyWriter) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}
