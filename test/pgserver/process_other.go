//go:build !linux

package pgserver

import "syscall"

// dieWithParent has no counterpart here: a killed caller leaves its server running.
func dieWithParent(*syscall.SysProcAttr) {}

// childrenOf knows none here: backends notice the loss of their postmaster by themselves.
func childrenOf(int) []int { return nil }
