package qdrantserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// recovery is a request to bring data back from a snapshot.
type recovery struct {
	Location string  `json:"location"`
	Priority *string `json:"priority"`
	Checksum *string `json:"checksum"`
	APIKey   *string `json:"api_key"`
}

var checksumForm = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// check refuses what is not a priority, and what is not a checksum where that is looked at.
func (q *recovery) check(where string, strict bool) error {
	if q.Priority != nil {
		switch *q.Priority {
		case "no_sync", "snapshot", "replica":
		default:
			kind := "Deserialize"
			if where == "JSON body" {
				kind = "Format"
			}
			return fail(kindFormat, "%s error in %s: unknown variant `%s`, expected one of `no_sync`, `snapshot`, `replica`", kind, where, *q.Priority)
		}
	}
	if strict && q.Checksum != nil && !checksumForm.MatchString(*q.Checksum) {
		return fail(kindInvalid, "Validation error in %s: [checksum: Validation error: invalid_sha256_hash [{\"value\": String(%s), \"expected_length\": Number(64), \"length\": Number(%d)}]]",
			where, showKey(*q.Checksum), len(*q.Checksum))
	}
	return nil
}

func (q *recovery) priority() string {
	if q.Priority == nil {
		return "snapshot"
	}
	return *q.Priority
}

// uploadQuery reads the parameters of an upload from the URL. That of a shard looks at them less strictly.
func (r *request) uploadQuery(strict bool) (*recovery, error) {
	q := &recovery{}
	values := r.URL.Query()
	if values.Has("priority") {
		q.Priority = ptr(values.Get("priority"))
	}
	if values.Has("checksum") {
		q.Checksum = ptr(values.Get("checksum"))
	}
	err := q.check("query parameters", strict)
	if f, ok := err.(*failure); ok && !strict { //nolint:errorlint // never wrapped
		f.text = strings.Replace(f.text, "Deserialize error in query parameters", "Query deserialize error", 1)
	}
	return q, err
}

func ptr[T any](v T) *T { return &v }

// spool writes the uploaded file to a temporary one; its name is what the client called it, without folders.
func (r *request) spool() (path, name, sum string, err error) {
	reader, err := r.MultipartReader()
	if err != nil {
		return "", "", "", &failure{kind: kind{"", http.StatusUnsupportedMediaType, 0}, text: "ContentTypeIncompatible"}
	}
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			return "", "", "", fail(kindFormat, "Required field is missing: snapshot")
		}
		if err != nil {
			return "", "", "", fail(kindFormat, "Multipart stream is incomplete: %v", err)
		}
		if part.FormName() != "snapshot" {
			continue
		}
		path, sum, err := r.n.spool(part)
		if err != nil {
			return "", "", "", fail(kindFormat, "Multipart stream is incomplete: %v", err)
		}
		if name = filepath.Base(part.FileName()); part.FileName() == "" {
			name = newUUID()
		}
		return path, name, sum, nil
	}
}

// spool copies to a temporary file and sums up.
func (n *node) spool(from io.Reader) (path, sum string, err error) {
	tmp, err := os.CreateTemp(n.tmp, "upload-*")
	if err != nil {
		return "", "", err
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(tmp, h), from)
	if err = errors.Join(err, tmp.Close()); err != nil {
		_ = os.Remove(tmp.Name())
		return "", "", err
	}
	return tmp.Name(), hex.EncodeToString(h.Sum(nil)), nil
}

// received is what both uploads do first. Whoever may not upload is refused before the body is read, as text.
func (r *request) received(strict bool) (q *recovery, path, name, sum string, ok bool) {
	if err := r.role.mayWrite(); err != nil {
		r.failPlain(err)
		return nil, "", "", "", false
	}
	q, err := r.uploadQuery(strict)
	if err == nil {
		path, name, sum, err = r.spool()
	}
	if err != nil {
		if k := asFailure(err).kind; !strict || k.status == http.StatusBadRequest && k.prefix == "" || k.status == http.StatusUnsupportedMediaType {
			r.failPlain(err)
		} else {
			r.fail(err)
		}
		return nil, "", "", "", false
	}
	return q, path, name, sum, true
}

// uploadSnapshot keeps what was uploaded among the snapshots of the name in the path, also when that is an alias, and
// recovers from it. The file stays there.
func (r *request) uploadSnapshot() {
	q, path, name, sum, ok := r.received(true)
	if !ok {
		return
	}
	collection := r.args[0]
	r.waitOr(func() (any, error) {
		defer func() { _ = os.Remove(path) }() // moved away when all is well
		if err := checkName(collection); err != nil {
			return nil, err
		}
		if q.Checksum != nil && !strings.EqualFold(sum, *q.Checksum) {
			return nil, fail(kindChecksum, "expected %s, actual %s", sum, *q.Checksum)
		}
		folder := filepath.Join(r.n.snapshots, collection)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, internal("%v", err)
		}
		place := filepath.Join(folder, name)
		if err := os.Rename(path, place); err != nil {
			return nil, internal("%v", err)
		}
		return true, r.n.recoverCollection(collection, place, q.priority())
	})
}

// recoverSnapshot recovers a collection from a file among the snapshots or from a URL.
func (r *request) recoverSnapshot() {
	q, err := r.recoverBody()
	if err != nil {
		r.fail(err)
		return
	}
	collection := r.args[0]
	r.waitOr(func() (any, error) {
		location, err := url.Parse(q.Location)
		if err != nil || location.Scheme == "" {
			return nil, fail(kindFormat, "Format error in JSON body: relative URL without a base: %s", showKey(q.Location))
		}
		if r.n.c.opts.NoURLRecovery && location.Scheme != "file" {
			return nil, forbidden("Snapshot recovery from remote URLs is disabled in the configuration")
		}
		if err := r.role.mayWrite(); err != nil {
			return nil, err
		}
		path, temporary, err := r.n.fetch(location, q)
		if err != nil {
			return nil, err
		}
		if temporary {
			defer func() { _ = os.Remove(path) }()
		}
		return true, r.n.recoverCollection(collection, path, q.priority())
	})
}

func (r *request) recoverBody() (*recovery, error) {
	var q recovery
	if err := r.body(&q); err != nil {
		return nil, err
	}
	if q.Location == "" {
		return nil, fail(kindFormat, "Format error in JSON body: missing field `location`")
	}
	return &q, q.check("JSON body", true)
}

// fetch makes a snapshot available as a file and checks its sum.
func (n *node) fetch(location *url.URL, q *recovery) (path string, temporary bool, err error) {
	var sum string
	switch location.Scheme {
	case "file":
		if path, err = n.localFile(location.Path); err == nil && q.Checksum != nil {
			sum, err = sumFile(path)
		}
	case "http", "https":
		temporary = true
		path, sum, err = n.download(location, q)
	default:
		err = badRequest("URL %s with scheme %s is not supported", location, location.Scheme)
	}
	if err != nil {
		return "", false, err
	}
	if q.Checksum != nil && !strings.EqualFold(sum, *q.Checksum) {
		if temporary {
			_ = os.Remove(path)
		}
		return "", false, badInput("Snapshot checksum mismatch: expected %s, got %s", *q.Checksum, sum)
	}
	return path, temporary, nil
}

// localFile allows only what is among the snapshots, whatever links there are.
func (n *node) localFile(path string) (string, error) {
	if _, err := os.Stat(path); err != nil {
		return "", badRequest("Snapshot file %s does not exist", showKey(path))
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", badRequest("Failed to resolve snapshot path %s: %v", showKey(path), err)
	}
	allowed, err := filepath.EvalSymlinks(n.snapshots)
	if err != nil {
		return "", internal("%v", err)
	}
	if !strings.HasPrefix(real, allowed+string(filepath.Separator)) {
		return "", forbidden("Snapshot file path must be inside the snapshots directory %s", showKey(allowed))
	}
	return real, nil
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path) // #nosec G304: checked by localFile
	if err != nil {
		return "", internal("%v", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", internal("%v", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// download fetches a snapshot from elsewhere, with the key that the request gave for that.
func (n *node) download(location *url.URL, q *recovery) (path, sum string, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := context.AfterFunc(ctx, func() {})
	defer stop()
	go func() {
		select {
		case <-n.c.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), nil)
	if err != nil {
		return "", "", badRequest("%v", err)
	}
	if q.APIKey != nil {
		req.Header.Set("api-key", *q.APIKey)
	}
	resp, err := n.c.http.Do(req)
	if err != nil {
		return "", "", internal("Http request error: error sending request for url (%s)", location)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return "", "", badInput("Failed to download tar from %s: status - %s", location, statusText(resp.StatusCode))
	}
	path, sum, err = n.spool(resp.Body)
	if err != nil {
		return "", "", internal("Failed to unpack tar archive: %v", err)
	}
	return path, sum, nil
}

func statusText(code int) string { return strconv.Itoa(code) + " " + http.StatusText(code) }
