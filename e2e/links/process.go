//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a program that a scenario has started, in a process group of its own.
type process struct {
	name    string
	isProxy bool // and so has an exit status of its own
	cmd     *exec.Cmd
	said    *output
	ended   chan struct{} // closed when it has ended
	err     error         // of Wait; read it only after ended

	mu      sync.Mutex // guards what follows
	stopped bool       // it has been told to end
}

// output is what a process has written.
type output struct {
	mu  sync.Mutex // guards what follows
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// spawn starts a worker or a proxy. If this process ends, whatever the reason, the kernel ends the other one.
func (s *scene) spawn(name string, cmd *exec.Cmd, isProxy bool) (*process, error) {
	p := &process{name: name, isProxy: isProxy, cmd: cmd, said: new(output), ended: make(chan struct{})}
	orphaned := syscall.SIGKILL // a worker may have been stopped
	if isProxy {
		orphaned = syscall.SIGTERM // which it passes on to its own children
	}
	cmd.Stderr = p.said
	if cmd.Stdout == nil {
		cmd.Stdout = p.said
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: orphaned, Setpgid: true}
	cmd.WaitDelay = time.Second // for what its children hold open
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = append(s.began, p)
	return p, nil
}

func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// kill ends it at once, with all that it has started, and waits for that.
func (p *process) kill() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// stop ends it in order, unless it was killed before. The error says that it did not end so.
func (p *process) stop() error {
	p.mu.Lock()
	was := p.stopped
	p.stopped = true
	p.mu.Unlock()
	select {
	case <-p.ended:
		if was {
			return nil
		}
		return fmt.Errorf("it has ended by itself: %v", p.err)
	default:
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		if p.isProxy {
			return nil
		}
		return p.err
	case <-time.After(8 * time.Second):
		p.kill()
		return fmt.Errorf("it had not ended 8 s after SIGTERM")
	}
}
