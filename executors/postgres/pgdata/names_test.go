package pgdata

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRelFile(t *testing.T) {
	for path, want := range map[string]RelFile{
		"global/1262":         {Tablespace: GlobalTablespace, Number: 1262},
		"base/5/1259_fsm":     {Tablespace: DefaultTablespace, Database: 5, Number: 1259, Fork: ForkFreeSpace},
		"base/5/1259_vm.2":    {Tablespace: DefaultTablespace, Database: 5, Number: 1259, Fork: ForkVisibility, Segment: 2},
		"base/5/16400_init":   {Tablespace: DefaultTablespace, Database: 5, Number: 16400, Fork: ForkInit},
		"base/5/4294967295.1": {Tablespace: DefaultTablespace, Database: 5, Number: 1<<32 - 1, Segment: 1},
		"pg_tblspc/16390/PG_15_202209061/5/16391.32767": {Tablespace: 16390, Database: 5, Number: 16391, Segment: 32767},
	} {
		got, ok := ParseRelFile(path)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Errorf("%s: %v (-want +got):\n%s", path, ok, diff)
		}
	}
	for _, path := range []string{
		"", "PG_VERSION", "global/pg_control", "global/pg_filenode.map", "base/5/PG_VERSION", "base/5/pg_internal.init", "base/5/t3_16400",
		"base/5/1259.0", "base/5/01259", "base/5/0", "base/5/1259_fsm_vm", "base/5/1259.", "base/5/4294967296", "base/x/1259", "base/1259",
		"base/5/1259.32768", "base/5/6/1259", "pg_xact/0000", "pg_tblspc/16390/5/16391", "pg_tblspc/16390/PG_x/5/16391", "global/5/1262",
		"base/5/1259.99999999999", "/base/5/1259", "base/5/1259\n",
	} {
		if got, ok := ParseRelFile(path); ok || got != (RelFile{}) {
			t.Errorf("%q is %+v, want no relation", path, got)
		}
	}
	if got := (RelFile{Segment: 3}).FirstBlock(); got != 393216 {
		t.Errorf("the fourth file begins at block %d", got)
	}
	if got := (RelFile{Segment: 32767}).FirstBlock(); got != 4294836224 {
		t.Errorf("the last file begins at block %d", got)
	}
}

func TestExcluded(t *testing.T) {
	for _, path := range []string{
		"postmaster.pid", "postmaster.opts", "backup_label", "backup_manifest", "tablespace_map", "postgresql.auto.conf.tmp",
		"pg_wal/000000010000000000000001", "pg_wal/archive_status/000000010000000000000001.done", "pg_replslot/s", "pg_replslot/s/state",
		"pg_dynshmem/mmap.1", "pg_notify/0000", "pg_serial/0000", "pg_snapshots/1", "pg_stat_tmp/global.stat", "pg_subtrans/0000",
		"base/pgsql_tmp", "base/pgsql_tmp/pgsql_tmp77.0", "pg_tblspc/16390/PG_15_202209061/pgsql_tmp", "global/pg_internal.init",
		"base/5/pg_internal.init.77", "base/5/t3_16400", "base/5/t3_16400_fsm.1", "pg_tblspc/16390/PG_15_202209061/5/t12_16400",
	} {
		if !Excluded(path) {
			t.Errorf("%s is backed up", path)
		}
	}
	for _, path := range []string{
		"PG_VERSION", "pg_wal", "pg_wal/archive_status", "pg_wal/summaries", "pg_replslot", "pg_stat_tmp", "pg_subtrans", "base/5/1259", "global/pg_control",
		"pg_xact/0000", "pg_stat/pgstat.stat", "postgresql.auto.conf", "backup_label.old", "t3_16400", "current_logfiles", "pg_tblspc/16390",
		"pg_walrus/x", "pg_logical/replorigin_checkpoint", "pg_twophase/000002D5",
	} {
		if Excluded(path) {
			t.Errorf("%s is left out", path)
		}
	}
}

func TestUnlogged(t *testing.T) {
	u := FindUnlogged([]string{"16400", "16400_init", "16400_fsm", "16400.1", "16401", "PG_VERSION"})
	for path, want := range map[string]bool{
		"base/5/16400": true, "base/5/16400_fsm": true, "base/5/16400.1": true, "base/5/16400_init": false, "base/5/16401": false,
	} {
		f, _ := ParseRelFile(path)
		if got := u.Excludes(f); got != want {
			t.Errorf("%s: excluded %v, want %v", path, got, want)
		}
	}
}

const sampleLabel = `START WAL LOCATION: 16/B3000028 (file 0000001F00000016000000B3)
CHECKPOINT LOCATION: 16/B3000060
BACKUP METHOD: streamed
BACKUP FROM: standby
START TIME: 2026-11-25 18:00:00 UTC
LABEL: nightly
START TIMELINE: 31
INCREMENTAL FROM LSN: 16/A0000028
INCREMENTAL FROM TLI: 30
`

func TestLabel(t *testing.T) {
	got, err := ParseLabel([]byte(sampleLabel))
	if err != nil {
		t.Fatal(err)
	}
	want := Label{
		Start: 0x16B3000028, Segment: "0000001F00000016000000B3", Checkpoint: 0x16B3000060, Method: "streamed", From: "standby",
		StartTime: "2026-11-25 18:00:00 UTC", Name: "nightly", Timeline: 31, Incremental: &Incremental{LSN: 0x16A0000028, Timeline: 30},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("label (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sampleLabel, string(got.Content())); diff != "" {
		t.Errorf("written again (-want +got):\n%s", diff)
	}
	for name, change := range map[string][2]string{
		"empty":             {sampleLabel, ""},
		"no start":          {"START WAL LOCATION", "STOP WAL LOCATION"},
		"no file":           {" (file 0000001F00000016000000B3)", ""},
		"no checkpoint":     {"CHECKPOINT LOCATION: 16/B3000060\n", ""},
		"timeline 0":        {"START TIMELINE: 31", "START TIMELINE: 0"},
		"another timeline":  {"START TIMELINE: 31", "START TIMELINE: 32"},
		"half an increment": {"INCREMENTAL FROM TLI: 30\n", ""},
		"a line twice":      {"LABEL: nightly\n", "LABEL: nightly\nLABEL: daily\n"},
		"no line":           {"LABEL: nightly\n", "LABEL\n"},
	} {
		if got, err := ParseLabel([]byte(strings.Replace(sampleLabel, change[0], change[1], 1))); err == nil {
			t.Errorf("%s: %+v, want an error", name, got)
		}
	}
}

func TestTablespaceMap(t *testing.T) {
	want := []Tablespace{{16390, "/srv/a b"}, {16391, "/srv/line\nbreak\\and\rmore"}}
	text := TablespaceMap(want)
	if diff := cmp.Diff("16390 /srv/a b\n16391 /srv/line\\\nbreak\\\\and\\\rmore\n", string(text)); diff != "" {
		t.Errorf("map (-want +got):\n%s", diff)
	}
	got, err := ParseTablespaceMap(text)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"16390 /srv", "16390\n", "x /srv\n", "16390 srv\n", "0 /srv\n", "16390 /srv\\", "4294967296 /srv\n", "16390 /s\x00\n"} {
		if got, err := ParseTablespaceMap([]byte(bad)); err == nil {
			t.Errorf("%q is %+v, want an error", bad, got)
		}
	}
}

func FuzzParseLabel(f *testing.F) {
	f.Add([]byte(sampleLabel))
	f.Fuzz(func(t *testing.T, content []byte) {
		l, err := ParseLabel(content)
		if err != nil {
			return
		}
		again, err := ParseLabel(l.Content())
		if diff := cmp.Diff(l, again); diff != "" || err != nil {
			t.Errorf("%v (-read +written and read):\n%s", err, diff)
		}
	})
}

func FuzzParseTablespaceMap(f *testing.F) {
	f.Add([]byte("16390 /srv/a\\\\b\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		spaces, err := ParseTablespaceMap(content)
		if err != nil {
			return
		}
		again, err := ParseTablespaceMap(TablespaceMap(spaces))
		if diff := cmp.Diff(spaces, again); diff != "" || err != nil {
			t.Errorf("%v (-read +written and read):\n%s", err, diff)
		}
	})
}

func FuzzParseRelFile(f *testing.F) {
	f.Add("pg_tblspc/16390/PG_15_202209061/5/16391_fsm.3")
	f.Fuzz(func(t *testing.T, path string) {
		if file, ok := ParseRelFile(path); ok && (Excluded(path) || file.Number == 0) {
			t.Errorf("%q is %+v and excluded", path, file)
		}
	})
}
