package postgres

import "syscall"

// dieWithParent ends a client program when holdfast is killed and cannot do it itself: a parallel pg_restore reads a
// file and would go on for hours.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }

// descriptorPaths tells that /proc/self/fd/N opens a file anew, even one without a name.
const descriptorPaths = true
