package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// slot is a worker's place: its ports, and a succession of processes that serve them.
type slot struct {
	number  int
	public  string          // address to listen on for clients
	command func() []string // the arguments of the next process, but for where to listen
	verbose bool
	log     *os.File
	since   func() time.Duration
	fault   func(format string, args ...any) // reports that a worker misbehaved

	turn     sync.Mutex // held while stopping or starting it; guards the fields below except those that mu guards
	process  *process
	in       io.Writer
	out      *bufio.Reader
	restarts int

	mu      sync.Mutex // guards the fields below
	push    string     // address to listen on for publishers and other workers
	downs   []Window
	stopped []Window // in which it had SIGSTOP
}

const (
	readyTimeout = 20 * time.Second
	askTimeout   = 20 * time.Second
	never        = time.Duration(1<<63 - 1 - 1<<40) // leaves room to add to it
)

// start starts a process on the ports. The caller holds turn.
func (s *slot) start() error {
	args := append(s.command(), "-push", s.pushAddress(), "-public", s.public, fmt.Sprintf("-v=%t", s.verbose))
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = s.log
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p, err := spawn(cmd, syscall.SIGKILL, func(err error) { s.fault("worker %d ended of itself: %v", s.number, err) })
	if err != nil {
		return err
	}
	s.process, s.in, s.out = p, in, bufio.NewReader(out)
	line, err := s.line(readyTimeout)
	if err != nil || strings.TrimSpace(line) != "ready" {
		_ = p.stop(syscall.SIGKILL, time.Second)
		return fmt.Errorf("worker %d did not start: %q, %v", s.number, line, err)
	}
	return nil
}

// pushAddress is where publishers and other workers reach the worker.
func (s *slot) pushAddress() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.push
}

// line reads the worker's next line. If that takes too long, it ends the worker.
func (s *slot) line(within time.Duration) (string, error) {
	timer := time.AfterFunc(within, func() { _ = s.process.cmd.Process.Kill() })
	defer timer.Stop()
	return s.out.ReadString('\n')
}

// down ends the process with stop, leaves the ports unused for a while, and starts another process there.
func (s *slot) down(pause func(), stop func(*process)) {
	stop(s.process)
	pause()
	err := s.start()
	s.mu.Lock()
	s.downs[len(s.downs)-1].To = s.since()
	s.mu.Unlock()
	s.restarts++
	if err != nil {
		s.fault("%v", err)
	}
}

// told records that requests may go unanswered from now on, until another process is ready.
func (s *slot) told() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downs = append(s.downs, Window{s.since(), never})
}

// kill ends the process at once.
func (s *slot) kill(p *process) {
	s.told()
	_ = p.stop(syscall.SIGKILL, time.Second)
}

// pause keeps the process from running until wait returns.
func (s *slot) pause(wait func()) {
	s.mu.Lock()
	s.stopped = append(s.stopped, Window{s.since(), never})
	s.mu.Unlock()
	_ = s.process.cmd.Process.Signal(syscall.SIGSTOP)
	wait()
	_ = s.process.cmd.Process.Signal(syscall.SIGCONT)
	s.mu.Lock()
	s.stopped[len(s.stopped)-1].To = s.since()
	s.mu.Unlock()
}

// drain tells the process to end, which it must do in order and in time.
func (s *slot) drain(p *process) {
	s.told()
	if err := p.stop(syscall.SIGTERM, drainTimeout+2*time.Second); err != nil {
		s.fault("worker %d was told to stop: %v", s.number, err)
	}
}

// ask asks the process what it uses.
func (s *slot) ask() (r Report, err error) {
	if _, err := io.WriteString(s.in, "report\n"); err != nil {
		return r, err
	}
	line, err := s.line(askTimeout)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(line), &r)
}

// settle asks the process until it uses no more goroutines, descriptors and memory than it should. When the time is over,
// the process logs its goroutines' stacks. The runtime keeps stopped timers, and what they refer to, for a while.
func (s *slot) settle(want *Report, within time.Duration) (r Report, err error) {
	for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		if r, err = s.ask(); err != nil {
			return r, fmt.Errorf("worker %d: %w", s.number, err)
		}
		isBack := r.Stats.Connections == 0 && r.Goroutines <= want.Goroutines && r.Descriptors <= want.Descriptors && r.Heap <= want.Heap+heapSlack
		if isBack {
			return r, nil
		}
		if time.Since(begin) > within {
			_, _ = io.WriteString(s.in, "stacks\n") // to its log
			return r, nil
		}
	}
}

// rest asks the process until its numbers no longer change.
func (s *slot) rest(within time.Duration) (last Report, err error) {
	same := 0
	for begin := time.Now(); time.Since(begin) < within; time.Sleep(200 * time.Millisecond) {
		r, err := s.ask()
		if err != nil {
			return r, err
		}
		if same++; r.Stats.Connections > 0 || r.Goroutines != last.Goroutines || r.Descriptors != last.Descriptors {
			same = 0
		}
		if last = r; same == 3 {
			return r, nil
		}
	}
	return last, fmt.Errorf("worker %d does not come to rest: %+v", s.number, last)
}
