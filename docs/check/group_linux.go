package check

import "syscall"

// processGroup has a command lead a group of its own, and end if this process does without ending it.
func processGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
