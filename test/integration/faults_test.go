package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-io/holdfast/test/faultproxy"
	"github.com/holdfast-io/holdfast/test/hfbin"
	"github.com/holdfast-io/holdfast/test/s3server"
)

const faultsPolicy = `
store "primary" {
  url = "STORE"
  encryption {
    recipients = ["RECIPIENT"]
  }
}
source "files" "config" {
  root = "data"
}
backup "config" {
  source   = source.files.config
  store    = store.primary
  schedule { every = "1h" }
  verify { after = "read" }
}
`

// faultySite is a policy whose store is reached through a proxy.
func faultySite(t *testing.T) (*hfbin.Site, *faultproxy.Proxy) {
	t.Helper()
	server := s3server.Start(t)
	proxy := faultproxy.Start(t, server.Endpoint)
	s := hfbin.New(t)
	s.Write("main.hf.hcl", strings.NewReplacer("STORE", server.Through(server.URL, proxy.URL), "RECIPIENT", s.Recipient).Replace(faultsPolicy))
	s.Write("data/a.yaml", "a: 0\n")
	s.Write("data/b.txt", strings.Repeat("some text that is long enough to be cut\n", 2000))
	s.Must("init")
	s.Must("apply", "-auto-approve")
	return s, proxy
}

// What goes away by itself is survived, and nothing of it is left in the store.
func TestTransientFaults(t *testing.T) {
	s, proxy := faultySite(t)
	for name, fault := range map[string]faultproxy.Fault{
		"throttled":                  {Status: http.StatusServiceUnavailable, Code: "SlowDown", Times: 4},
		"throttled writes":           {Method: http.MethodPut, Status: http.StatusServiceUnavailable, Code: "SlowDown", Times: 3},
		"asked to wait":              {Method: http.MethodPut, Status: http.StatusTooManyRequests, Code: "SlowDown", RetryAfter: 1},
		"internal errors":            {Method: http.MethodGet, Status: http.StatusInternalServerError, Code: "InternalError", Times: 4},
		"slow":                       {Delay: 300 * time.Millisecond, Times: 5},
		"answers that break off":     {Method: http.MethodGet, Path: "/packs/", CutAnswer: true, Times: 2},
		"answers that are short":     {Method: http.MethodGet, Path: "/packs/", Truncate: true, Times: 2},
		"uploads that break off":     {Method: http.MethodPut, Path: "/packs/", CutRequest: true, Times: 2},
		"uploads altered on the way": {Method: http.MethodPut, Path: "/packs/", Garble: true},
		"lost answers of packs":      {Method: http.MethodPut, Path: "/packs/", Lost: true},
		"lost answers of points":     {Method: http.MethodPut, Path: "/points/", Lost: true, Times: 2},
		"lost answers of leases":     {Method: http.MethodPut, Path: "/leases/", Lost: true},
		"lost answers of deletion":   {Method: http.MethodDelete, Lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			s.Write("data/a.yaml", "a: "+name+"\n")
			proxy.Set(fault)
			s.Must("apply", "-auto-approve", "-force=backup.config")
			proxy.CheckStruck(t)
		})
	}
	proxy.Set()
	s.Prints(s.Must("plan"), "No changes")
	points := s.Points()
	for _, p := range points {
		if !p.Verified || p.Incomplete {
			t.Errorf("point %+v", p)
		}
	}
	s.Prints(s.Must("verify", "-level=read"), "14 of 14 restore points verified")
	s.Must("restore", "backup.config", "-target=back", "-auto-approve")
	for _, name := range []string{"a.yaml", "b.txt"} {
		want, _ := os.ReadFile(filepath.Join(s.Dir, "data", name))
		if got, err := os.ReadFile(filepath.Join(s.Dir, "back", name)); err != nil || string(got) != string(want) {
			t.Errorf("%s did not come back: %v", name, err)
		}
	}
}

// What does not go away is said, with what to do, and leaves nothing behind that counts.
func TestPermanentFaults(t *testing.T) {
	s, proxy := faultySite(t)
	before := s.Points()
	for _, c := range []struct {
		fault faultproxy.Fault
		want  []string
	}{
		{faultproxy.Fault{Status: http.StatusBadRequest, Code: "ExpiredToken", Times: -1}, []string{"denied", "ExpiredToken", "renew them"}},
		{faultproxy.Fault{Status: http.StatusForbidden, Code: "RequestTimeTooSkewed", Times: -1}, []string{"denied", "clock of this host"}},
		{faultproxy.Fault{Method: http.MethodPut, Path: "/packs/", Status: http.StatusForbidden, Code: "AccessDenied", Times: -1}, []string{"denied", "Permissions"}},
	} {
		t.Run(c.fault.Code, func(t *testing.T) {
			s.Write("data/a.yaml", "a: "+c.fault.Code+"\n")
			proxy.Set(c.fault)
			r := s.Run("apply", "-auto-approve", "-force=backup.config")
			if r.Code == 0 {
				t.Errorf("it succeeded:\n%s", r.Both())
			}
			s.Prints(r, c.want...)
			proxy.CheckStruck(t)
			proxy.Set()
			if after := s.Points(); len(after) != len(before) {
				t.Errorf("%d points, want %d", len(after), len(before))
			}
		})
	}
	s.Must("apply", "-auto-approve", "-force=backup.config")
	s.Prints(s.Must("plan"), "No changes")
}

// Ctrl-C during the wait before another attempt ends it: the attempts that were left are not made.
func TestInterruptedRetry(t *testing.T) {
	s, proxy := faultySite(t)
	proxy.Set(faultproxy.Fault{Method: http.MethodPut, Path: "/packs/", Status: http.StatusServiceUnavailable, Code: "SlowDown", RetryAfter: 50, Times: -1})
	s.Write("data/a.yaml", "a: interrupted\n")
	c := s.Command("apply", "-auto-approve", "-force=backup.config")
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	attempts := func() (n int) {
		for _, r := range proxy.Requests() {
			if strings.HasPrefix(r, "PUT ") && strings.Contains(r, "/packs/") {
				n++
			}
		}
		return n
	}
	for range 3000 {
		if attempts() > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond) // it waits now: 50 seconds, as the service asked
	if err := c.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	_ = c.Wait()
	if took := time.Since(begin); took > 30*time.Second || c.ProcessState.ExitCode() == 0 {
		t.Errorf("exit code %d, %v after the signal:\n%s", c.ProcessState.ExitCode(), took, out.String())
	}
	if n := attempts(); n != 1 {
		t.Errorf("%d attempts, want 1", n)
	}
	proxy.Set()
	s.Must("apply", "-auto-approve")
	s.Prints(s.Must("plan"), "No changes")
}
