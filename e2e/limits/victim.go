//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// memory is what a worker may take, and tooMuch is when it is killed, so that the machine survives a worker that does not.
const (
	memory  = 1 << 30
	tooMuch = memory + memory/5
)

// victim is the process of a worker that is attacked. startVictim starts its goroutines, and close stops them.
type victim struct {
	ready
	settings
	cmd     *exec.Cmd
	stdin   io.Closer
	said    *output
	group   *cgroup       // nil: its memory is watched
	ended   chan struct{} // closed when the process has ended
	stop    chan struct{} // closed by close
	watched sync.WaitGroup

	mu        sync.Mutex    // guards what follows
	peak      int64         // resident memory; in a cgroup also what the kernel has
	kernel    int64         // the most that the kernel had for its sockets
	noKernel  error         // why that is not known
	together  int64         // the most of both at a time
	killed    bool          // because it took too much
	processor time.Duration // taken
}

// output is the end of what a process has written.
type output struct {
	mu  sync.Mutex // guards what follows
	buf bytes.Buffer
}

// maxOutput is how much of it is kept at least.
const maxOutput = 16 << 10

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buf.Len() > 2*maxOutput {
		o.buf.Next(o.buf.Len() - maxOutput)
	}
	return o.buf.Write(p)
}

// last returns the last lines.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := strings.SplitAfter(o.buf.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "")
}

// startVictim starts a worker. If this process ends, whatever the reason, the kernel ends the other one.
func startVictim(b *bounds, set settings) (*victim, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	set.Credential = "a credential of honest publishers, and of others"
	v := &victim{settings: set, cmd: exec.Command(program, roleWorker), said: new(output), ended: make(chan struct{}), stop: make(chan struct{})}
	v.cmd.Stderr = v.said
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := v.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	v.stdin = stdin
	stdout, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if v.group, err = b.group(); err != nil {
		return nil, err
	}
	if v.group != nil {
		v.group.enter(v.cmd.SysProcAttr)
	}
	if err := v.cmd.Start(); err != nil {
		v.group.remove()
		return nil, err
	}
	err = json.NewEncoder(stdin).Encode(set)
	if err == nil {
		err = json.NewDecoder(bufio.NewReader(stdout)).Decode(&v.ready)
	}
	if err != nil {
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait()
		v.group.remove()
		return nil, fmt.Errorf("the worker has not started: %w\n%s", err, v.said.last())
	}
	v.watched.Go(func() {
		defer close(v.ended)
		_ = v.cmd.Wait()
	})
	v.watched.Go(v.watch)
	v.watched.Go(v.watchSockets)
	return v, nil
}

// url is the push endpoint.
func (v *victim) url() string {
	if v.TLS {
		return "https://" + v.Push
	}
	return "http://" + v.Push
}

// watch samples the memory, and kills a worker that takes too much.
func (v *victim) watch() {
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case <-tick.C:
		case <-v.ended:
			return
		case <-v.stop:
			return
		}
		resident, _ := v.resident(), v.processorTime()
		v.mu.Lock()
		v.peak = max(v.peak, resident)
		v.killed = v.killed || resident > tooMuch
		killed := v.killed
		v.mu.Unlock()
		if killed {
			_ = v.cmd.Process.Kill()
			<-v.ended
			return
		}
	}
}

// watchSockets samples what the kernel has for the worker's sockets.
func (v *victim) watchSockets() {
	for tick := time.NewTicker(500 * time.Millisecond); ; {
		kernel, err := socketMemory(v.App, v.Push)
		resident := v.resident()
		v.mu.Lock()
		v.kernel, v.noKernel = max(v.kernel, kernel), err
		v.together = max(v.together, resident+kernel)
		v.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-v.ended:
			return
		case <-v.stop:
			return
		}
	}
}

// resident returns the resident memory of the process; 0 when it has ended.
func (v *victim) resident() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", v.cmd.Process.Pid))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// highWater returns the most resident memory that the process has had (VmHWM); 0 when it has ended.
func (v *victim) highWater() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}

// processorTime returns the processor time that the process has taken, in user space and in the kernel; what it had taken last if it
// has ended.
func (v *victim) processorTime() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.cmd.Process.Pid))
	v.mu.Lock()
	defer v.mu.Unlock()
	const user, perSecond = 11, 100 // counted from behind the name, which ends in a parenthesis; USER_HZ
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if err != nil || len(fields) < user+2 {
		return v.processor
	}
	ticks := 0
	for _, field := range fields[user : user+2] {
		n, _ := strconv.Atoi(field)
		ticks += n
	}
	v.processor = max(v.processor, time.Duration(ticks)*time.Second/perSecond)
	return v.processor
}

func (v *victim) hasEnded() bool {
	select {
	case <-v.ended:
		return true
	default:
		return false
	}
}

// judge says whether the worker has survived within its memory.
func (v *victim) judge() error {
	high := v.highWater()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.peak = max(v.peak, high)
	switch {
	case v.killed:
		return fmt.Errorf("it took more than %s, and was killed", size(tooMuch))
	case v.hasEnded():
		return fmt.Errorf("it has ended: %v", v.cmd.ProcessState)
	}
	if most := max(v.peak, v.together); most > memory {
		return fmt.Errorf("it took %s, with the kernel's part, of %s", size(most), size(memory))
	}
	return nil
}

// close ends the process, and returns the most memory that it had, and what the kernel had for its sockets.
func (v *victim) close() (peak int64, kernel string) {
	v.mu.Lock()
	peak, kernel = v.peak, size(v.kernel)
	if v.noKernel != nil {
		kernel = "an unknown amount (" + v.noKernel.Error() + ")"
	}
	v.mu.Unlock()
	close(v.stop)
	_ = v.stdin.Close()
	_ = v.cmd.Process.Kill() // the end of a worker is tested elsewhere
	v.watched.Wait()
	if v.group != nil {
		peak = max(peak, v.group.peak())
		v.group.remove()
	}
	return peak, kernel
}
