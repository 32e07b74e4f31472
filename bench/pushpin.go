package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// pushpinConfig is a Pushpin that limits no rates, with a zurl of its own, so that none need run beside it.
const pushpinConfig = `[global]
include={libdir}/internal.conf
rundir=%[1]s/run
ipc_prefix=pushpin-
port_offset=0
stats_connection_ttl=120

[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=%[2]s
logdir=%[1]s/log
log_level=0
client_buffer_size=8192
client_maxconn=20000
condure_bin=condure
zurl_bin=zurl

[proxy]
routesfile=routes
updates_check=off
sig_key=bench
zurl_out_specs=ipc://{rundir}/{ipc_prefix}zurl-in
zurl_out_stream_specs=ipc://{rundir}/{ipc_prefix}zurl-in-stream
zurl_in_specs=ipc://{rundir}/{ipc_prefix}zurl-out

[handler]
push_in_spec=ipc://{rundir}/{ipc_prefix}push-in
push_in_sub_specs=ipc://{rundir}/{ipc_prefix}push-in-sub
push_in_http_addr=127.0.0.1
push_in_http_port=%[3]s
push_in_http_max_headers_size=10000
push_in_http_max_body_size=10000000
stats_spec=ipc://{rundir}/{ipc_prefix}stats
command_spec=ipc://{rundir}/{ipc_prefix}command
message_rate=1000000000
message_hwm=1000000000
message_wait=5000
id_cache_ttl=60
connection_subscription_max=20
subscription_linger=60
stats_connection_send=false
stats_subscription_ttl=60
stats_report_interval=10
stats_format=tnetstring
`

// byItems is how Pushpin takes many messages: its publish endpoint, with an item for each.
var byItems = way{form: order.Pushpin, publishers: 4, batch: 500, window: 500}

// pushpin is an installed Pushpin.
type pushpin struct {
	program string
	group   int // how many clients are sent a message for many
}

func findPushpin(r *run) (*installed, error) {
	program, err := exec.LookPath("pushpin")
	if err != nil {
		return nil, errors.New("it is not installed")
	}
	for _, needed := range []string{"condure", "zurl"} {
		if _, err := exec.LookPath(needed); err != nil {
			return nil, errors.New("its " + needed + " is not installed")
		}
	}
	version, err := output(program, "--version")
	if err != nil {
		return nil, fmt.Errorf("pushpin --version: %w", err)
	}
	return &installed{strings.TrimPrefix(version, "pushpin "), (&pushpin{program, r.plan.many()}).start}, nil
}

func (p *pushpin) start(ctx context.Context, _ time.Duration) (_ *host, err error) {
	dir, err := os.MkdirTemp("", "wspush-bench-pushpin-")
	if err != nil {
		return nil, err
	}
	var running *process
	var backend net.Listener
	stop := func() {
		if running != nil {
			running.stop(syscall.SIGTERM) // it takes the others along
		}
		if backend != nil {
			backend.Close()
		}
		os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	if backend, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	go http.Serve(backend, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { subscribe(w, r, p.group) }))
	addr, control, err := twoFreeAddrs()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	_, controlPort, _ := net.SplitHostPort(control)
	config := filepath.Join(dir, "pushpin.conf")
	if err := errors.Join(
		os.Mkdir(filepath.Join(dir, "run"), 0o777),
		os.Mkdir(filepath.Join(dir, "log"), 0o777),
		os.WriteFile(config, fmt.Appendf(nil, pushpinConfig, dir, port, controlPort), 0o666),
		os.WriteFile(filepath.Join(dir, "routes"), fmt.Appendf(nil, "* %s,over_http\n", backend.Addr()), 0o666),
	); err != nil {
		return nil, err
	}
	if running, err = spawn(syscall.SIGTERM, p.program, "--config", config); err != nil {
		return nil, err
	}
	if err := listens(ctx, control); err != nil {
		return nil, err
	}
	if err := upgrades(ctx, addr); err != nil {
		return nil, err
	}
	all, err := family(running.pid())
	if err != nil {
		return nil, err
	}
	return &host{
		name: "pushpin", pid: running.pid(), all: all, addr: addr, path: "/%d", push: "http://" + control + "/publish/%d",
		way: byItems, close: stop,
	}, nil
}

// upgrades waits until a client is accepted: Pushpin listens before all of its parts have found each other, and what comes
// meanwhile is never answered.
func upgrades(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		req, err := http.NewRequestWithContext(attempt, http.MethodGet, "http://"+addr+"/0", nil)
		if err != nil {
			cancel()
			return err
		}
		req.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
			"Sec-WebSocket-Version": {"13"}, "Sec-WebSocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		resp, err := http.DefaultClient.Do(req)
		cancel()
		if err != nil {
			_ = sleep(ctx, 50*time.Millisecond)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return nil
		}
	}
	return errors.New("it accepts no client")
}

// subscribe is the application behind Pushpin: it accepts each client, and subscribes it to a channel named after its path,
// and to that of a group of neighbours, since an item is for one channel. Pushpin speaks WebSocket-over-HTTP to it.
func subscribe(w http.ResponseWriter, r *http.Request, group int) {
	index, err := strconv.Atoi(path.Base(r.URL.Path))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/websocket-events")
	w.Header().Set("Sec-WebSocket-Extensions", `grip; message-prefix=""`)
	fmt.Fprint(w, "OPEN\r\n")
	for _, channel := range []string{strconv.Itoa(index), order.Group + strconv.Itoa(index/group*group)} {
		message := fmt.Sprintf(`c:{"type":"subscribe","channel":%q}`, channel)
		fmt.Fprintf(w, "TEXT %x\r\n%s\r\n", len(message), message)
	}
}

// twoFreeAddrs finds two ports that nobody listens on.
func twoFreeAddrs() (first, second string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer l.Close()
	second, err = freeAddr() // another one, while the first is taken
	return l.Addr().String(), second, err
}

// family is a process with all its descendants.
func family(pid int) (all []int, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	all = []int{pid}
	for _, file := range files {
		children, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for child := range strings.FieldsSeq(string(children)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				return nil, err
			}
			more, err := family(n)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
	}
	return all, nil
}
