package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	startTimeout = 10 * time.Second
	stopTimeout  = 8 * time.Second // longer than a child takes
)

// process is a copy of this program, or nginx. A goroutine waits for it to end.
type process struct {
	name  string
	cmd   *exec.Cmd
	quit  func() error  // asks it to end
	ended chan struct{} // closed when it has ended
	err   error         // how it ended; nil means exit status 0
}

// await starts a goroutine that waits for a started process to end and then sends it to died, which must have room.
func await(name string, cmd *exec.Cmd, quit func() error, died chan<- *process) *process {
	p := &process{name: name, cmd: cmd, quit: quit, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
		died <- p
	}()
	return p
}

// startChild starts a copy of this program, and returns when it has printed its addresses.
func startChild(name, role string, s settings, died chan<- *process) (_ *process, at addresses, err error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, at, err
	}
	cmd := exec.Command(executable)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, at, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, at, err
	}
	if err := cmd.Start(); err != nil {
		return nil, at, err
	}
	late := time.AfterFunc(startTimeout, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err = json.NewEncoder(stdin).Encode(s)
	if err == nil {
		err = json.NewDecoder(stdout).Decode(&at)
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ended, or was not ready in time")
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, at, fmt.Errorf("%s did not start: %w", name, err)
	}
	return await(name, cmd, stdin.Close, died), at, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and waits for it.
func (p *process) stop() error {
	select {
	case <-p.ended: // it ended earlier, which has been reported
		return nil
	default:
	}
	_ = p.quit() // it fails only if the process has just ended
	late := time.NewTimer(stopTimeout)
	defer late.Stop()
	select {
	case <-p.ended:
		if p.err != nil {
			return fmt.Errorf("%s: %w", p.name, p.err)
		}
		return nil
	case <-late.C:
		_ = killAll(p.cmd)
		<-p.ended
		return fmt.Errorf("%s did not stop within %v and was killed", p.name, stopTimeout)
	}
}
