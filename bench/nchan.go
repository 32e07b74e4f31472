package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// nginxConfig is an nginx with Nchan that has nothing to do but this: one worker, no buffer of messages, no access log.
// A connection of publishers may be used for ever, as those of the other servers.
const nginxConfig = `
load_module %s;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log error.log;
events {
	worker_connections 19000;
}
http {
	access_log off;
	client_body_temp_path temp;
	proxy_temp_path temp;
	fastcgi_temp_path temp;
	uwsgi_temp_path temp;
	scgi_temp_path temp;
	keepalive_requests 1000000000;
	nchan_shared_memory_size %s;
	server {
		listen %s backlog=4096;
		location ~ ^/sub/(.+)$ {
			nchan_subscriber websocket;
			nchan_channel_id $1;
			nchan_store_messages off;
			nchan_websocket_ping_interval %d;
		}
		location ~ ^/pub/(.+)$ {
			nchan_publisher http;
			nchan_channel_id $1;
			nchan_channel_id_split_delimiter ",";
			nchan_store_messages off;
		}
	}
}
`

// pipelined is how Nchan takes many messages: a request for each, without waiting for the answer, since it has none for
// many. A message for many has a request, which names all their channels.
var pipelined = way{form: order.Requests, publishers: 4, batch: 50, window: 100}

// nchan is an installed nginx that has the module.
type nchan struct {
	nginx  string // path of the program
	module string // path of the module
	memory string // that its messages may take; it is not quick to give it back
}

// findNchan looks for nginx with Nchan.
func findNchan(r *run) (*installed, error) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx, err = exec.LookPath("/usr/sbin/nginx") // is not in everyone's path
	}
	if err != nil {
		return nil, errors.New("nginx is not installed")
	}
	about, err := output(nginx, "-V")
	if err != nil {
		return nil, fmt.Errorf("nginx -V: %w", err)
	}
	dir := "/usr/lib/nginx/modules"
	if m := regexp.MustCompile(`--modules-path=(\S+)`).FindStringSubmatch(about); m != nil {
		dir = m[1]
	}
	n := &nchan{nginx: nginx, module: filepath.Join(dir, "ngx_nchan_module.so"), memory: "128M"}
	if r.results.Group == bulk {
		n.memory = "1G"
	}
	if _, err := os.Stat(n.module); err != nil {
		return nil, errors.New("nginx has no Nchan")
	}
	version := "nginx"
	if m := regexp.MustCompile(`nginx version: nginx/(\S+)`).FindStringSubmatch(about); m != nil {
		version += " " + m[1]
	}
	// Only where there is dpkg: nginx itself does not know.
	if v, err := output("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"); err == nil {
		v, _, _ = strings.Cut(strings.TrimPrefix(v, "1:"), "+") // without what is Debian's
		version = v + " on " + version
	}
	return &installed{version, n.start}, nil
}

// start starts nginx. Its clients are not greeted: each subscribes to a channel of its own.
func (n *nchan) start(ctx context.Context, ping time.Duration) (_ *host, err error) {
	dir, err := os.MkdirTemp("", "wspush-bench-nginx-")
	if err != nil {
		return nil, err
	}
	var p *process
	stop := func() {
		if p != nil {
			p.stop(syscall.SIGTERM) // the master takes its worker along
		}
		os.RemoveAll(dir)
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(nginxConfig, n.module, n.memory, addr, int(max(ping, time.Second).Seconds()))
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o666); err != nil {
		return nil, err
	}
	if p, err = spawn(syscall.SIGTERM, n.nginx, "-p", dir, "-c", file, "-e", "error.log"); err != nil {
		return nil, err
	}
	for begin := time.Now(); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			if worker, err := onlyChild(p.pid()); err == nil {
				return &host{name: "nchan", pid: worker, addr: addr, path: "/sub/%d", push: "http://" + addr + "/pub/%d", way: pipelined, close: stop}, nil
			}
		}
		if time.Since(begin) > startTimeout {
			logged, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			return nil, fmt.Errorf("nginx did not start: %s", bytes.TrimSpace(logged))
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// freeAddr finds a port that nobody listens on: nginx cannot be asked which one it has got.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// onlyChild returns the process that another has started.
func onlyChild(pid int) (int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(children)
	if len(fields) != 1 {
		return 0, fmt.Errorf("process %d has %d children", pid, len(fields))
	}
	return strconv.Atoi(string(fields[0]))
}
