package dir_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// unprivileged takes root's power over permissions from the thread of this test. The thread is never unlocked, so it
// ends with the test's goroutine and nobody else runs on it.
func unprivileged(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
}
