package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// centrifugoConfig is a Centrifugo with its engine in memory that has nothing to do but this: no history, no presence, and
// none of its endpoints but its HTTP API and its unidirectional WebSocket.
const centrifugoConfig = `{
	"log": {"level": "error"},
	"http_server": {"address": "127.0.0.1", "port": %q},
	"client": {"insecure": true, "ping_interval": %q},
	"channel": {"without_namespace": {"allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true}},
	"http_api": {"insecure": true},
	"websocket": {"disabled": true},
	"uni_websocket": {"enabled": true, "join_push_messages": true}
}
`

// centrifugoPath is where a client connects: it subscribes itself to a channel of its own by what it says in its URL.
const centrifugoPath = "/connection/uni_websocket?cf_connect=%%7B%%22subs%%22%%3A%%7B%%22%d%%22%%3A%%7B%%7D%%7D%%7D"

// byCommands is how Centrifugo takes many messages: its batch API, with a publish command for each, or a broadcast command
// for one to many.
var byCommands = way{form: order.Centrifugo, publishers: 16, batch: 1000, window: 1000}

// centrifugo is an installed Centrifugo.
type centrifugo struct{ program string }

// findCentrifugo looks for Centrifugo, also where go install puts it.
func findCentrifugo(*run) (*installed, error) {
	program, err := exec.LookPath("centrifugo")
	for _, dir := range goBins() {
		if err != nil {
			program, err = exec.LookPath(filepath.Join(dir, "centrifugo"))
		}
	}
	if err != nil {
		return nil, errors.New("it is not installed: go install github.com/centrifugal/centrifugo/v6@v6.9.1")
	}
	version := "of unknown version"
	if info, err := buildinfo.ReadFile(program); err == nil {
		version = info.Main.Version
	}
	return &installed{version, (&centrifugo{program}).start}, nil
}

// goBins are where go install puts programs.
func goBins() (dirs []string) {
	if bin, err := output("go", "env", "GOBIN"); err == nil && bin != "" {
		dirs = append(dirs, bin)
	}
	if path, err := output("go", "env", "GOPATH"); err == nil {
		for _, dir := range filepath.SplitList(path) {
			dirs = append(dirs, filepath.Join(dir, "bin"))
		}
	}
	return dirs
}

func (c *centrifugo) start(ctx context.Context, ping time.Duration) (_ *host, err error) {
	dir, err := os.MkdirTemp("", "wspush-bench-centrifugo-")
	if err != nil {
		return nil, err
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, centrifugoConfig, port, ping), 0o666); err != nil {
		return nil, err
	}
	p, err := spawn(syscall.SIGKILL, c.program, "-c", file)
	if err != nil {
		return nil, err
	}
	stop := func() {
		p.stop(syscall.SIGKILL) // it has nothing to tidy up
		os.RemoveAll(dir)
	}
	if err := listens(ctx, addr); err != nil {
		stop()
		return nil, err
	}
	return &host{
		name: "centrifugo", pid: p.pid(), addr: addr, path: centrifugoPath, push: "http://" + addr + "/api/%d", greets: true,
		way: byCommands, close: stop,
	}, nil
}
