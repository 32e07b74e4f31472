package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// nginxConfig is a typical load balancer: round robin, moving to the next worker if one cannot be reached or says that it
// is shutting down. With max_fails, nginx would remember such a worker and let only one client per fail_timeout try it
// until one of those had ended without a failure, which takes long for a WebSocket.
const nginxConfig = `
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log nginx.log warn;
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
	upstream workers {
%s	}
	server {
		listen %s backlog=4096 sndbuf=64k;
		location /ws {
			proxy_pass http://workers;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_set_header Host $http_host;
			proxy_connect_timeout 2s;
			proxy_read_timeout 1h;
			proxy_send_timeout 1h;
			proxy_next_upstream error timeout http_503;
		}
	}
}
`

// balancer is nginx, in front of the workers.
type balancer struct {
	address string
	version string
	process *process
}

// startBalancer starts nginx with its files in dir.
func startBalancer(dir, address string, workers []string, endedByItself func(error)) (*balancer, error) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx, err = exec.LookPath("/usr/sbin/nginx") // not on everyone's PATH
	}
	if err != nil {
		return nil, errors.New("nginx is missing: on Debian, apt-get install nginx-light, or bash e2e/chaos/run")
	}
	about, err := exec.Command(nginx, "-v").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("nginx -v: %w", err)
	}
	var upstream strings.Builder
	for _, w := range workers {
		fmt.Fprintf(&upstream, "\t\tserver %s max_fails=0;\n", w)
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, upstream.String(), address), 0o666); err != nil {
		return nil, err
	}
	p, err := spawn(exec.Command(nginx, "-p", dir, "-c", file, "-e", "nginx.log"), syscall.SIGTERM, endedByItself)
	if err != nil {
		return nil, err
	}
	_, version, _ := strings.Cut(string(bytes.TrimSpace(about)), "nginx/")
	b := &balancer{address: address, version: version, process: p}
	for begin := time.Now(); time.Since(begin) < readyTimeout; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return b, nil
		}
	}
	b.stop()
	logged, _ := os.ReadFile(filepath.Join(dir, "nginx.log"))
	return nil, fmt.Errorf("nginx did not start: %s", bytes.TrimSpace(logged))
}

func (b *balancer) stop() { _ = b.process.stop(syscall.SIGTERM, 3*time.Second) } // the master ends its worker
