//go:build !unix

package main

import (
	"os"
	"os/exec"
)

// Other systems have neither process groups nor these signals.

func ownGroup(*exec.Cmd)                 {}
func quitGracefully(p *os.Process) error { return p.Kill() }
func killGroup(p *os.Process) error      { return p.Kill() }
