package postgres

import "syscall"

// dieWithParent ends a program when holdfast is killed and cannot do it itself: a parallel pg_restore reads a
// file and would go on for hours.
func dieWithParent(attr *syscall.SysProcAttr, with syscall.Signal) { attr.Pdeathsig = with }

// descriptorPaths tells that /proc/self/fd/N opens a file anew, even one without a name.
const descriptorPaths = true
