//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps Ctrl-C in the terminal from a program that would end at once: nginx has to go on until the workers have
// closed their clients.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// quitGracefully asks nginx to finish what it is doing, and to end.
func quitGracefully(p *os.Process) error { return p.Signal(syscall.SIGQUIT) }

// killAll kills a process, and those that it has started if it has a group of its own.
func killAll(cmd *exec.Cmd) error {
	if cmd.SysProcAttr != nil && cmd.SysProcAttr.Setpgid {
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return cmd.Process.Kill()
}
