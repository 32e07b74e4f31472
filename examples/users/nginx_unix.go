//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup shields nginx from Ctrl-C in the terminal, which would end it at once: it must go on until the workers have closed their clients.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// quitGracefully asks nginx to finish its requests and exit.
func quitGracefully(p *os.Process) error { return p.Signal(syscall.SIGQUIT) }

// killGroup kills nginx and its worker process.
func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }
