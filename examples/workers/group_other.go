//go:build !unix

package main

import (
	"os"
	"os/exec"
)

// Other systems have neither process groups nor these signals.

func ownGroup(*exec.Cmd)                 {}
func quitGracefully(p *os.Process) error { return p.Kill() }
func killAll(cmd *exec.Cmd) error        { return cmd.Process.Kill() }
