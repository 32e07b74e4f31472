//go:build !linux

package check

import "syscall"

// processGroup has a command lead a group of its own.
func processGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
