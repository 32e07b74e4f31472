package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush/bench/internal/proc"
)

// process is a child, which lives until stop.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	ended  chan struct{}
}

// spawn starts a child. It does not outlive this process: the kernel sends it a signal when we die, whatever we die of.
func spawn(signal syscall.Signal, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	p.cmd.Env = slices.DeleteFunc(os.Environ(), isTuning)
	// A group of its own, or Ctrl-C would reach it before we have taken our leave of it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: signal, Setpgid: true}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(stdout)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// isTuning reports whether a variable of the environment changes how a Go program runs: all are to run as they do by default.
func isTuning(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	return slices.Contains([]string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"}, name)
}

// pid is the child's process ID.
func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the child, with the given signal if that does, and waits for it.
func (p *process) stop(signal syscall.Signal) {
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.ended:
	case <-time.After(3 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// host is a server under measurement.
type host struct {
	name  string
	pid   int    // of the process that does the work
	addr  string // host:port
	path  string // of the WebSocket; %d stands for the number of the client
	push  string // where to push to a client, if the greeting does not say; with %d
	all   []int  // of all its processes that work for its clients and publishers, if there are more
	way   way    // how it takes many messages
	close func()
}

// startTimeout is how long a server may take to say that it is ready.
const startTimeout = 20 * time.Second

// startGo starts one of our own servers.
func startGo(ctx context.Context, name, path string, ping time.Duration, args ...string) (*host, error) {
	return startReady(ctx, name, path, append([]string{"-listen", "127.0.0.1:0", "-ping", ping.String()}, args...)...)
}

// startReady starts a program that says "ready", and where, when it is.
func startReady(ctx context.Context, name, path string, args ...string) (*host, error) {
	p, err := spawn(syscall.SIGKILL, path, args...)
	if err != nil {
		return nil, err
	}
	line := make(chan string, 1)
	go func() {
		s, _ := p.stdout.ReadString('\n')
		line <- s
	}()
	stop := func() { p.stop(syscall.SIGKILL) } // it has nothing to tidy up
	select {
	case s := <-line:
		addr, ok := strings.CutPrefix(strings.TrimSpace(s), "ready ")
		if !ok {
			stop()
			return nil, fmt.Errorf("%s did not start: %q", name, s)
		}
		return &host{name: name, pid: p.pid(), addr: addr, path: "/ws", way: byLines, close: stop}, nil
	case <-time.After(startTimeout):
		err = fmt.Errorf("%s did not start in %v", name, startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	stop()
	return nil, err
}

// pids are the processes whose CPU counts as the server's.
func (h *host) pids() []int {
	if len(h.all) > 0 {
		return h.all
	}
	return []int{h.pid}
}

// cpu is the processor time that the server has used so far.
func (h *host) cpu() (time.Duration, error) { return proc.CPU(h.pid) }

// cpuOfAll is the processor time that all of its processes have used so far.
func (h *host) cpuOfAll() (sum time.Duration, err error) {
	for _, pid := range h.pids() {
		cpu, err := proc.CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}

// rss is the server's memory in KB.
func (h *host) rss() (float64, error) {
	n, err := proc.RSS(h.pid)
	return float64(n) / 1024, err
}

// ask sends a request to one of our own servers, which must answer it with 200 within the timeout.
func (h *host) ask(ctx context.Context, timeout time.Duration, method, path string) ([]byte, error) {
	return h.send(ctx, timeout, method, path, nil)
}

// send is ask with a body.
func (h *host) send(ctx context.Context, timeout time.Duration, method, path string, content io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+h.addr+path, content)
	if err != nil {
		return nil, err
	}
	req.Close = true // a connection that is kept would be one more, with its goroutines
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, err
}

// goroutines is how many goroutines one of our own servers has.
func (h *host) goroutines(ctx context.Context) (float64, error) {
	body, err := h.ask(ctx, 10*time.Second, http.MethodGet, "/bench/goroutines")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.TrimSpace(string(body)), 64)
}

// output runs a program that takes no time, and returns what it prints.
func output(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
