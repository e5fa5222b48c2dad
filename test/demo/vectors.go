package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/test/qdrantserver"
	"github.com/holdfast-io/holdfast/test/ragdata"
)

// The collection of the demonstration and its second name. On a server of yours it touches nothing else.
const (
	collection = "holdfast-demo"
	aliasName  = "holdfast-demo-live"
)

// vectors is a Qdrant: yours, one in a container, or the server of the tests.
type vectors struct {
	ragdata.Qdrant
	what   string // for people
	stop   func() error
	points ragdata.Points
}

// startQdrant finds or starts a server: HOLDFAST_TEST_QDRANT_URL (and _GRPC), else Docker, else the tests' own.
func startQdrant(ctx context.Context, dir string) (*vectors, error) {
	server, err := ragdata.FindQdrant()
	if err == nil {
		v := &vectors{Qdrant: server, what: "the Qdrant server at " + server.URL}
		v.stop = v.leave
		return v, nil
	}
	if !errors.Is(err, ragdata.ErrNoQdrant) {
		return nil, err
	}
	if v, err := inDocker(ctx); err == nil {
		return v, nil
	}
	data := filepath.Join(dir, "qdrant")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	own, err := qdrantserver.Run(data, qdrantserver.Options{})
	if err != nil {
		return nil, fmt.Errorf("start the tests' Qdrant server: %w", err)
	}
	return &vectors{
		Qdrant: ragdata.Qdrant{URL: own.URLs()[0], GRPC: own.GRPC()[0]}, stop: own.Stop,
		what: "the tests' own server, which speaks Qdrant's protocol (no Docker here, and HOLDFAST_TEST_QDRANT_URL names no real one)",
	}, nil
}

// inDocker runs the official image on free ports.
func inDocker(ctx context.Context) (*vectors, error) {
	if err := exec.CommandContext(ctx, "docker", "info").Run(); err != nil {
		return nil, fmt.Errorf("there is no Docker: %w", err)
	}
	out, err := exec.CommandContext(ctx, "docker", "run", "-d", "--rm", "-p", "127.0.0.1::6333", "-p", "127.0.0.1::6334", "qdrant/qdrant").Output()
	if err != nil {
		return nil, fmt.Errorf("run Qdrant in Docker: %w", err)
	}
	id := strings.TrimSpace(string(out))
	v := &vectors{what: "a Qdrant server in Docker", stop: func() error { return exec.Command("docker", "rm", "-f", id).Run() }}
	for port, into := range map[string]*string{"6333": &v.URL, "6334": &v.GRPC} {
		out, err := exec.CommandContext(ctx, "docker", "port", id, port).Output()
		if err != nil {
			return nil, errors.Join(err, v.stop())
		}
		first, _, _ := strings.Cut(string(out), "\n")
		*into = strings.TrimSpace(first)
	}
	v.URL = "http://" + v.URL
	for range 60 {
		if err := v.Ask(ctx, http.MethodGet, "/collections", nil, nil); err == nil {
			return v, nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	return nil, errors.Join(errors.New("qdrant in Docker does not answer"), v.stop())
}

// leave removes what the demonstration made on a server that stays.
func (v *vectors) leave() error {
	var errs []error
	for _, suffix := range []string{"", "_restored", "_earlier"} {
		errs = append(errs, v.Ask(context.Background(), http.MethodDelete, "/collections/"+collection+suffix, nil, nil))
	}
	return errors.Join(errs...)
}

// fillVectors makes a collection with an index and an alias, and stores the chunks of documents in it.
func (d *demo) fillVectors(ctx context.Context) error {
	v := d.qdrant
	d.out.say("Vectors: %s.", v.what)
	v.points = ragdata.Points{Seed: 1, Rows: 6000, Dimensions: ragdata.Dimensions}
	_ = v.leave() // what an interrupted demonstration left; mostly there is nothing
	for _, step := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPut, "/collections/" + collection, map[string]any{"vectors": map[string]any{"size": v.points.Dimensions, "distance": "Cosine"}}},
		{http.MethodPut, "/collections/" + collection + "/index?wait=true", map[string]any{"field_name": "metadata.kind", "field_schema": "keyword"}},
		{http.MethodPost, "/collections/aliases", map[string]any{"actions": []any{map[string]any{"create_alias": map[string]any{"alias_name": aliasName, "collection_name": collection}}}}},
	} {
		if err := v.Ask(ctx, step.method, step.path, step.body, nil); err != nil {
			return err
		}
	}
	if err := v.load(ctx, 0); err != nil {
		return err
	}
	d.out.say("Collection %s with %d points of %d dimensions and their texts, an index and the alias %s.", collection, v.points.Rows, v.points.Dimensions, aliasName)
	return nil
}

func (v *vectors) load(ctx context.Context, from int64) error {
	c, err := v.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	return v.points.Load(ctx, c, collection, from)
}

// changeVectors ingests new documents and removes an old one.
func (d *demo) changeVectors(ctx context.Context) error {
	v := d.qdrant
	before := v.points.Rows
	v.points.Rows += before / 50
	if err := v.load(ctx, before); err != nil {
		return err
	}
	gone := []int64{8, 9, 10, 11, 12, 13, 14, 15}
	if err := v.Ask(ctx, http.MethodPost, "/collections/"+collection+"/points/delete?wait=true", map[string]any{"points": gone}, nil); err != nil {
		return err
	}
	d.out.say("%d points are new in %s, %d of a document are gone.", v.points.Rows-before, collection, len(gone))
	return nil
}

// describe is what a collection holds: its configuration, its indexes, and a hash for each point.
func (v *vectors) describe(ctx context.Context, name string) (map[string]string, error) {
	var info struct {
		Config json.RawMessage            `json:"config"`
		Schema map[string]json.RawMessage `json:"payload_schema"`
	}
	if err := v.Ask(ctx, http.MethodGet, "/collections/"+name, nil, &info); err != nil {
		return nil, err
	}
	lines := map[string]string{"configuration": string(info.Config), "indexes": strings.Join(slices.Sorted(maps.Keys(info.Schema)), ", ")}
	body := map[string]any{"limit": 500, "with_payload": true, "with_vector": true}
	for {
		var page struct {
			Points []struct {
				ID      json.RawMessage `json:"id"`
				Payload map[string]any  `json:"payload"`
				Vector  json.RawMessage `json:"vector"`
			} `json:"points"`
			Next json.RawMessage `json:"next_page_offset"`
		}
		if err := v.Ask(ctx, http.MethodPost, "/collections/"+name+"/points/scroll", body, &page); err != nil {
			return nil, err
		}
		for _, p := range page.Points {
			payload, err := json.Marshal(p.Payload) // with its keys in order
			if err != nil {
				return nil, err
			}
			sum := sha256.Sum256(append(payload, p.Vector...))
			lines["point "+string(p.ID)] = hex.EncodeToString(sum[:])
		}
		if string(page.Next) == "null" || len(page.Next) == 0 {
			return lines, nil
		}
		body["offset"] = page.Next
	}
}

func (d *demo) restoreVectors(ctx context.Context) error {
	d.out.heading("The collection comes back beside the one in use")
	if err := d.restore(ctx, "backup.vectors", "latest", "*_restored", "end"); err != nil {
		return err
	}
	now, err := d.qdrant.describe(ctx, collection)
	if err != nil {
		return err
	}
	back, err := d.qdrant.describe(ctx, collection+"_restored")
	if err != nil {
		return err
	}
	if err := differences(now, back); err != nil {
		return fmt.Errorf("the restored collection is another: %w", err)
	}
	d.out.say("%d points compared, payload and vector; configuration and index are the same.", len(back)-2)
	return nil
}
