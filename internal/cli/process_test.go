package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestProcessGone(t *testing.T) {
	self := processToken()
	if self == "" {
		t.Skip("this system has no /proc that tells boot, namespace and start time")
	}
	if processGone(self) {
		t.Error("this process is said to be gone")
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	token := tokenOf(child.Process.Pid)
	if token == "" || processGone(token) {
		t.Errorf("the running child %q is said to be gone", token)
	}
	child.Process.Kill()
	child.Wait()
	if !processGone(token) {
		t.Error("the killed child is said to be alive")
	}
	recycled := self[:strings.LastIndex(self, "/")+1] + "1"
	if !processGone(recycled) {
		t.Error("a process id that was given to another process is said to be the old one")
	}
	for _, foreign := range []string{"", "elsewhere/pid:[1]/1/1", "x" + self, strings.Replace(self, "/pid:", "/other:", 1)} {
		if processGone(foreign) {
			t.Errorf("%q is said to be gone, but nobody here can know", foreign)
		}
	}
}

// TestHiddenProcessMayBeAlive: where /proc is mounted with hidepid, another user's process is not there to see.
func TestHiddenProcessMayBeAlive(t *testing.T) {
	if token := os.Getenv("HOLDFAST_TEST_TOKEN"); token != "" {
		if processGone(token) {
			fmt.Println("said to be gone")
		}
		return
	}
	if os.Getuid() != 0 || processToken() == "" {
		t.Skip("mounting /proc takes root")
	}
	folder, err := os.MkdirTemp("/tmp", "holdfast-hidden-") // the other user cannot enter that of the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(folder, 0o755), os.WriteFile(folder+"/test", program, 0o755)); err != nil {
		t.Fatal(err)
	}
	run := exec.Command("unshare", "-m", "sh", "-c", "mount -t proc -o hidepid=2 proc /proc && "+
		"exec setpriv --reuid=65534 --regid=65534 --clear-groups "+folder+"/test -test.run='^TestHiddenProcessMayBeAlive$'")
	run.Dir, run.Env = "/", append(os.Environ(), "HOLDFAST_TEST_TOKEN="+processToken())
	out, err := run.CombinedOutput()
	if err != nil {
		t.Skipf("processes cannot be hidden here: %v: %s", err, out)
	}
	if strings.Contains(string(out), "said to be gone") {
		t.Errorf("this process, hidden, is %s", out)
	}
}
