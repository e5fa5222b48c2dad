package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/holdfast-io/holdfast/executors"
	"github.com/holdfast-io/holdfast/executors/postgres/archive"
	"github.com/holdfast-io/holdfast/executors/postgres/basebackup"
)

// globalsEnd is pg_dumpall's last line of substance; without it the file was cut off.
const globalsEnd = "-- PostgreSQL database cluster dump complete"

// Verify lets pg_restore decode every dump to its last byte into nothing. Its table of contents alone would not do: it
// stands at the front and is whole in a dump that was cut in the middle.
func (x *Executor) Verify(ctx context.Context, req executors.VerifyRequest, from executors.Supply) (executors.Result, error) {
	if isPhysical(from) {
		v, err := basebackup.Verify(ctx, from)
		if err != nil {
			return executors.Result{}, err
		}
		return executors.Result{Items: v.Items, Bytes: v.Bytes, Version: v.Document.Version, Position: v.Document.End, Meta: from.Meta()}, nil
	}
	res := executors.Result{Meta: from.Meta()}
	dumps := 0
	err := from.Read(ctx, nil, func(e executors.Entry, r io.Reader) error {
		var n int64
		var err error
		if e.Path == globalsPath {
			n, err = verifyGlobals(r)
		} else {
			dumps++
			n, err = x.verifyDump(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("verify %s: %w", e.Path, err)
		}
		if n != e.Size {
			return fmt.Errorf("verify %s: it holds %d bytes, recorded are %d", e.Path, n, e.Size)
		}
		res.Items++
		res.Bytes += n
		return nil
	})
	if err != nil {
		return executors.Result{}, err
	}
	if want := from.Meta()[metaDatabases]; want != "" && want != strconv.Itoa(dumps) {
		return executors.Result{}, fmt.Errorf("verify restore point: it holds %d dumps, made were %s", dumps, want)
	}
	if dumps == 0 {
		return executors.Result{}, errors.New("verify restore point: it holds no dump")
	}
	return res, nil
}

func (x *Executor) verifyDump(ctx context.Context, r io.Reader) (int64, error) {
	front := &bytes.Buffer{}
	counted := &countingReader{r: r}
	head, err := archive.ReadHead(io.TeeReader(counted, front))
	if err != nil {
		return counted.n, firstErr(counted.err, err)
	}
	t, err := x.tools.find(ctx, "pg_restore", majorOf(head.DumpVersion))
	if err != nil {
		return counted.n, err
	}
	c := newChild(ctx, nil, t, "--file=/dev/null", "--exit-on-error")
	n, err := c.feed(ctx, io.MultiReader(front, counted))
	if err == nil && c.early {
		err = errors.New("its last object ends before the dump does")
	}
	return n, err
}

func verifyGlobals(r io.Reader) (int64, error) {
	text, err := readGlobals(r)
	if err != nil {
		return 0, err
	}
	_, err = statements(text)
	return int64(len(text)), err
}

// firstErr prefers the cause: a decoder that was cut off reports only the end it met.
func firstErr(cause, err error) error {
	if cause != nil {
		return cause
	}
	return err
}
