package cli

import (
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
