package toolserver

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end the server when a test binary dies without cleaning up, as after a timeout.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
