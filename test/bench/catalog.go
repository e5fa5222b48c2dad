package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-io/holdfast/internal/blob/connect"
	"github.com/holdfast-io/holdfast/planner"
	"github.com/holdfast-io/holdfast/policy"
	"github.com/holdfast-io/holdfast/policy/lang"
	"github.com/holdfast-io/holdfast/state"
	"github.com/holdfast-io/holdfast/state/backend"
)

// catalogPolicy takes the store's folder, and how many points each backup keeps. The tenants are in a file of their own, as
// range() makes no more than 1,024.
const catalogPolicy = `locals {
  names = toset(jsondecode(file("tenants.json")))
}
store "main" {
  url = "file://%s"
  encryption { recipients = ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"] }
}
retention "standard" {
  last = %d
}
source "files" "tenant" {
  for_each = local.names
  root     = "/srv/${each.key}"
}
backup "tenant" {
  for_each  = local.names
  source    = source.files.tenant[each.key]
  store     = store.main
  retention = retention.standard
  schedule { cron = "0 2 * * *" }
  objective { rpo = "25h" }
  verify { after = "stored" }
}
`

// planNow is the moment planned for, well before the next slot.
var planNow = time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)

// catalog measures `plan` over a large policy and catalog, once with nothing to do and once with every backup due.
func catalog(ctx context.Context, o options, work string) (string, error) {
	policyDir := filepath.Join(work, "policy")
	if err := os.MkdirAll(policyDir, 0o700); err != nil {
		return "", err
	}
	each := o.points / o.backups
	names := make([]string, o.backups)
	for i := range names {
		names[i] = fmt.Sprintf("tenant-%05d", i)
	}
	tenants, err := json.Marshal(names)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(policyDir, "tenants.json"), tenants, 0o600); err != nil {
		return "", err
	}
	text := fmt.Sprintf(catalogPolicy, filepath.Join(work, "store"), each)
	if err := os.WriteFile(filepath.Join(policyDir, "fleet.hf.hcl"), []byte(text), 0o600); err != nil {
		return "", err
	}
	progress("writing a catalog of %d backups and %d restore points", o.backups, each*o.backups)
	if err := (job{"catalog", policyDir, int64(each), 0}).elsewhere(ctx); err != nil {
		return "", err
	}
	stateSize, err := folderSize(filepath.Join(policyDir, ".holdfast"))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### A catalog of %d backups and %d restore points\n\nThe policy declares them with `for_each`; the state takes %.1f MiB. Medians of %d rounds; the aim is under 2 s and 1 GiB.\n\n",
		o.backups, each*o.backups, mib(stateSize), o.rounds)
	b.WriteString("| command | wall | all processors | memory |\n|---|---|---|---|\n")
	cases := []struct {
		name string
		args []string
	}{
		{"`validate`", []string{"validate"}},
		{"`plan`, nothing to do", []string{"plan", "-at=" + planNow.Format(time.RFC3339)}},
		{"`plan`, every backup due", []string{"plan", "-at=" + planNow.Add(24*time.Hour).Format(time.RFC3339)}},
		{"`points -json`", []string{"points", "-json"}},
	}
	results := make([]series, len(cases))
	for range o.rounds {
		for i, c := range cases {
			m, err := timed(ctx, command{append([]string{o.binary}, c.args...), policyDir, nil})
			if err != nil {
				return "", err
			}
			progress("%-32s %7.2f s  %4d MiB memory", c.name, m.wall.Seconds(), m.rss>>20)
			results[i].add(m, 0)
		}
	}
	for i, c := range cases {
		fmt.Fprintf(&b, "| %s | %.2f s | %.2f s | %d MiB |\n", c.name, results[i].wall(), results[i].cpu(), results[i].rss()>>20)
	}
	return b.String(), nil
}

// writeCatalog commits what many days of applying the policy would have left, through the state's own backend.
func writeCatalog(ctx context.Context, policyDir string, each int) error {
	loaded, list := lang.Load(policyDir, lang.Options{})
	if list.HasErrors() {
		return fmt.Errorf("load policy: %s", list[0].Summary)
	}
	bucket, err := connect.Open(ctx, "file://./.holdfast/state", connect.Options{Base: policyDir, Create: true}) // where commands look by default
	if err != nil {
		return err
	}
	b := backend.New(bucket, backend.Options{Holder: "bench"})
	err = b.Update(ctx, func(c *state.Catalog) error {
		c.Objects = planner.Objects(loaded.Set)
		c.Points = map[string][]state.RestorePoint{}
		for address, backup := range loaded.Set.Backups {
			c.Points[address] = history(address, backup, each)
		}
		return nil
	})
	return errors.Join(err, bucket.Close())
}

// history is a point a day, the newest one for the last slot before planNow.
func history(address string, b policy.Backup, each int) []state.RestorePoint {
	newest := planNow.Truncate(24 * time.Hour).Add(2 * time.Hour)
	points := make([]state.RestorePoint, each)
	for i := range points {
		slot := newest.AddDate(0, 0, i+1-each)
		done := slot.Add(4 * time.Minute)
		id := fmt.Sprintf("%s-%06x", slot.Format("20060102T150405Z"), hash(address)&0xffffff)
		points[i] = state.RestorePoint{
			ID: id, Time: slot, Slot: slot, Finished: done, Run: id, Source: b.Source, Method: b.Method(),
			Size: 3 << 30, Items: 1200,
			Copies: []state.Copy{{
				Store: b.Store, Repository: "5f0c2f0e4b6d4a7e", Manifest: hexOf(address, id, "manifest"), Summary: hexOf(address, id, "summary"), Stored: 40 << 20,
				Proofs: []state.Proof{{Level: string(policy.VerifyStored), At: done, OK: true, Run: id}},
			}},
		}
	}
	return points
}
