package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// engines start what workers find each other's users through.
var engines = map[string]func(ctx context.Context, r *run) (*engine, error){
	"redis": startRedis,
	"nats":  startNATS,
}

// engine is a directory's engine under way, as a child.
type engine struct {
	url  string
	pid  int
	stop func()

	// lookups is how many keys have been looked up so far; nil where that cannot be known.
	lookups func() (int, error)
}

// startRedis starts the redis-server that is installed, which keeps everything in memory.
func startRedis(ctx context.Context, r *run) (*engine, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("-group users and sessions need redis-server (Debian: redis-server; redis-tools has the same program, named redis-check-rdb): %w", err)
	}
	version, err := output(path, "--version") // Redis server v=7.0.15 sha=…
	if err != nil {
		return nil, err
	}
	_, version, _ = strings.Cut(version, "v=")
	r.results.Versions["redis"], _, _ = strings.Cut(version, " ")
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	p, err := spawn(syscall.SIGKILL, path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", r.dir,
		"--logfile", filepath.Join(r.dir, "redis.log"))
	if err != nil {
		return nil, err
	}
	e := &engine{url: "redis://" + addr, pid: p.pid(), stop: func() { p.stop(syscall.SIGKILL) }, lookups: func() (int, error) { return redisCalls(addr, "zrange") }}
	for begin := time.Now(); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return e, c.Close()
		}
		if time.Since(begin) > startTimeout {
			e.stop()
			return nil, fmt.Errorf("redis-server did not start in %v: %w", startTimeout, err)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			e.stop()
			return nil, err
		}
	}
}

// redisCalls asks a Redis how often a command has been called.
func redisCalls(addr, command string) (int, error) {
	c, err := net.DialTimeout("tcp", addr, startTimeout)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return 0, err
	}
	if _, err := c.Write([]byte("INFO commandstats\r\nQUIT\r\n")); err != nil {
		return 0, err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return 0, err
	}
	if !strings.Contains(string(answer), "# Commandstats") {
		return 0, fmt.Errorf("redis-server has answered %q", answer[:min(len(answer), 100)])
	}
	_, rest, ok := strings.Cut(string(answer), "cmdstat_"+command+":calls=")
	if !ok {
		return 0, nil // never
	}
	calls, _, _ := strings.Cut(rest, ",")
	return strconv.Atoi(calls)
}

// startNATS starts the NATS server that comes with the benchmark.
func startNATS(ctx context.Context, r *run) (*engine, error) {
	dir, err := os.MkdirTemp(r.dir, "nats-")
	if err != nil {
		return nil, err
	}
	h, err := startReady(ctx, "nats", r.program("nats"), "-dir", dir)
	if err != nil {
		return nil, err
	}
	r.results.Versions["nats-server"] = versionOf("nats-server", r.program("nats"))
	return &engine{url: "nats://" + h.addr, pid: h.pid, stop: h.close}, nil
}
