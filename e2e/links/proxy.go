//go:build linux

package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// proxyKind is a program that can stand between workers.
type proxyKind struct {
	program string
	args    func(dir, config string) []string
	config  func(p *proxy) string
	reload  func(p *proxy) error
}

// proxy is a reverse proxy with two fronts, one plain and one with TLS, each of which leads to one worker.
type proxy struct {
	scene             *scene
	kind              *proxyKind
	plain, secure     string // where it listens
	toPlain, toSecure string // the workers
	admin             string // Caddy's
	process           *process
}

// quiet is how long a proxy here lets a connection be silent, in seconds: longer than links are, and shorter than the
// silence that they must survive.
const quiet = 25

// reloadGrace is how long a proxy that has been told to reload lets old connections live, in seconds.
const reloadGrace = 1

var nginx = &proxyKind{
	program: "nginx",
	args:    func(dir, config string) []string { return []string{"-p", dir, "-c", config, "-e", "stderr"} },
	config:  func(p *proxy) string { return p.nginxConfig(passUpgrade) },
	reload:  func(p *proxy) error { return p.process.cmd.Process.Signal(syscall.SIGHUP) },
}

// fill puts this proxy's values into a configuration.
func (p *proxy) fill(config string) string {
	c := p.scene.certs
	return strings.NewReplacer("DIR", p.scene.dir, "HOST", p.scene.host, "ADMIN", p.admin, "PLAIN", p.plain, "SECURE", p.secure,
		"TO1", p.toPlain, "TO2", p.toSecure, "CERTIFICATE", c.certificateFile, "KEY", c.keyFile, "BOTH", c.allFile,
		"QUIET", fmt.Sprint(quiet), "GRACE", fmt.Sprint(reloadGrace)).Replace(config)
}

// nginxWithout is nginx as it is without the lines for WebSockets.
var nginxWithout = &proxyKind{
	program: nginx.program,
	args:    nginx.args,
	config:  func(p *proxy) string { return p.nginxConfig("") },
}

const passUpgrade = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"

func (p *proxy) nginxConfig(lines string) string {
	return strings.ReplaceAll(p.fill(`
daemon off;
worker_processes 1;
worker_shutdown_timeout GRACEs;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
	access_log off;
	client_body_temp_path DIR/temp;
	proxy_temp_path DIR/temp;
	fastcgi_temp_path DIR/temp;
	uwsgi_temp_path DIR/temp;
	scgi_temp_path DIR/temp;
	proxy_http_version 1.1;
	proxy_read_timeout QUIETs;
	proxy_send_timeout QUIETs;
	server {
		listen PLAIN;
		location / { proxy_pass http://TO1; LINES proxy_set_header Host $http_host; }
	}
	server {
		listen SECURE ssl http2;
		ssl_certificate CERTIFICATE;
		ssl_certificate_key KEY;
		location / { proxy_pass http://TO2; LINES proxy_set_header Host $http_host; }
	}
}
`), "LINES", lines)
}

var haproxy = &proxyKind{
	program: "haproxy",
	args:    func(_, config string) []string { return []string{"-W", "-db", "-f", config} },
	config: func(p *proxy) string {
		return p.fill(`global
	hard-stop-after GRACEs
defaults
	mode http
	timeout connect 5s
	timeout client QUIETs
	timeout server QUIETs
frontend plain
	bind PLAIN
	default_backend one
frontend secure
	bind SECURE ssl crt BOTH alpn h2,http/1.1
	default_backend two
backend one
	server worker TO1
backend two
	server worker TO2
`)
	},
	reload: func(p *proxy) error { return p.process.cmd.Process.Signal(syscall.SIGUSR2) },
}

var caddy = &proxyKind{
	program: "caddy",
	args: func(_, config string) []string {
		return []string{"run", "--adapter", "caddyfile", "--config", config}
	},
	config: func(p *proxy) string {
		return p.fill(`{
	admin ADMIN
	auto_https off
}
http://PLAIN {
	bind HOST
	reverse_proxy TO1
}
https://SECURE {
	bind HOST
	tls CERTIFICATE KEY
	reverse_proxy TO2
}
`)
	},
	reload: func(p *proxy) error {
		r, err := http.NewRequest(http.MethodPost, "http://"+p.admin+"/load", strings.NewReader(p.kind.config(p)))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "text/caddyfile")
		r.Header.Set("Cache-Control", "must-revalidate") // or it would do nothing, since nothing has changed
		resp, err := p.scene.http(nil).Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("caddy does not load: %s", resp.Status)
		}
		return nil
	},
}

// proxy chooses ports for a proxy before these workers, which are told to be reached through it.
func (s *scene) proxy(kind *proxyKind, plain, secure *place) *proxy {
	p := &proxy{
		scene: s, kind: kind, plain: s.port(), secure: s.port(), toPlain: plain.set.Push, toSecure: secure.set.Push, admin: s.port(),
	}
	plain.set.Address, secure.set.Address = "http://"+p.plain, "https://"+p.secure
	return p
}

// start starts the proxy, and waits until it listens. It may be called again after kill.
func (p *proxy) start() error {
	program, err := exec.LookPath(p.kind.program)
	if err != nil {
		program = "/usr/sbin/" + p.kind.program // not on everyone's PATH
	}
	config := filepath.Join(p.scene.dir, p.kind.program+".conf")
	if err := os.WriteFile(config, []byte(p.kind.config(p)), 0o600); err != nil {
		return err
	}
	cmd := exec.Command(program, p.kind.args(p.scene.dir, config)...)
	cmd.Env = append(os.Environ(), "HOME="+p.scene.dir, "XDG_DATA_HOME="+p.scene.dir, "XDG_CONFIG_HOME="+p.scene.dir)
	if p.process, err = p.scene.spawn(p.kind.program, cmd, true); err != nil {
		return err
	}
	for _, at := range []string{p.plain, p.secure} {
		listens := await(p.scene.ctx, 20*time.Second, func() bool {
			conn, err := net.Dial("tcp", at)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
		if !listens {
			return fmt.Errorf("%s does not listen: %s", p.kind.program, p.process.said)
		}
	}
	return nil
}
