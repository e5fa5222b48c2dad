//go:build !linux

package postgres

import "syscall"

// dieWithParent has no counterpart here: programs notice the loss of their pipe.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// descriptorPaths: elsewhere such paths share one position between readers or do not exist.
const descriptorPaths = false
