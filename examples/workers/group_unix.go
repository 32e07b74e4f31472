//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup shields a program from Ctrl-C in the terminal, which would end it at once: nginx must go on until the workers have
// closed their clients.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// quitGracefully asks nginx to finish its requests and exit.
func quitGracefully(p *os.Process) error { return p.Signal(syscall.SIGQUIT) }

// killAll kills a process and, if it has its own group, everything that it started.
func killAll(cmd *exec.Cmd) error {
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Setpgid {
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return cmd.Process.Kill()
}
