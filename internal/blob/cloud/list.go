package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	gocloud "gocloud.dev/blob"

	"github.com/holdfast-io/holdfast/internal/blob"
)

// List asks page by page. Where the service promises no order, all names are gathered first, about 150 bytes each.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	if b.closed.Load() {
		return b.fail(ctx, "list", prefix, errors.New("the store is closed"))
	}
	if err := context.Cause(ctx); err != nil {
		return b.fail(ctx, "list", prefix, err)
	}
	if !blob.CanBegin(prefix) {
		return nil
	}
	var stopped error
	visit := func(i blob.Info) error {
		stopped = fn(i)
		return stopped
	}
	var err error
	if b.unsorted {
		err = b.listSorted(ctx, prefix, visit)
	} else {
		err = b.pages(ctx, prefix, ordered(b.place, visit))
	}
	if stopped != nil {
		return stopped
	}
	if err != nil {
		return b.fail(ctx, "list", prefix, err)
	}
	return nil
}

func (b *Bucket) listSorted(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	var all []blob.Info
	err := b.pages(ctx, prefix, func(i blob.Info) error {
		all = append(all, i)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(x, y blob.Info) int { return strings.Compare(x.Name, y.Name) })
	for _, i := range all {
		if err := fn(i); err != nil {
			return err
		}
	}
	return nil
}

// ordered refuses a listing that is out of order rather than hand it on: callers merge listings, and what they would miss
// they would take for absent.
func ordered(place string, fn func(blob.Info) error) func(blob.Info) error {
	last := ""
	return func(i blob.Info) error {
		if last != "" && i.Name <= last {
			return fmt.Errorf("%s lists %q after %q; holdfast needs a service that lists in byte order", place, i.Name, last)
		}
		last = i.Name
		return fn(i)
	}
}

// pages visits the objects as the service lists them. Names that no object of ours can have are passed over; somebody
// else put them there.
func (b *Bucket) pages(ctx context.Context, prefix string, fn func(blob.Info) error) error {
	token := gocloud.FirstPageToken
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		page, next, err := b.inner.ListPage(b.context(ctx), token, b.pageSize, &gocloud.ListOptions{Prefix: b.prefix + prefix})
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for _, o := range page {
			name := strings.TrimPrefix(o.Key, b.prefix)
			if o.IsDir || blob.CheckName(name) != nil {
				continue
			}
			if err := fn(blob.Info{Name: name, Size: o.Size, ModTime: o.ModTime.UTC()}); err != nil {
				return err
			}
		}
		if len(next) == 0 {
			return nil
		}
		token = next
	}
}
