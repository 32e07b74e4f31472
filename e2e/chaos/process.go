package main

import (
	"fmt"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// process is a child process that this program ends, by its process ID, and waits for.
type process struct {
	cmd   *exec.Cmd
	told  atomic.Bool   // whether it was told to end
	ended chan struct{} // closed when it has ended
	err   error         // from Wait; read it only after ended
}

// spawn starts a child. The kernel sends the child a signal when this process dies for any reason. If the child ends
// without having been told to, spawn calls endedByItself before it closes the channel.
func spawn(cmd *exec.Cmd, onDeath syscall.Signal, endedByItself func(error)) (*process, error) {
	// A group of its own, or Ctrl-C would reach it before we are done with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: onDeath, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() { // until the child has ended; stop ends it
		defer close(p.ended)
		p.err = cmd.Wait()
		if !p.told.Load() {
			endedByItself(p.err)
		}
	}()
	return p, nil
}

// stop ends the child with a signal or, if that takes too long, with SIGKILL.
func (p *process) stop(signal syscall.Signal, within time.Duration) error {
	p.told.Store(true)
	_ = p.cmd.Process.Signal(signal)
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.ended:
		return p.err
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("still running %v after %v", within, signal)
	}
}
