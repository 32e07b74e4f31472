//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// place is a worker: where it listens, and the process that does now.
type place struct {
	scene   *scene
	name    string
	set     settings
	process *process

	asking sync.Mutex // held while it is asked something; guards what follows
	in     io.Writer
	out    *bufio.Scanner
}

// place chooses ports for a worker. start starts it.
func (s *scene) place(name string) *place {
	p := &place{scene: s, name: name}
	p.set = settings{Push: s.port(), App: s.port(), Key: s.key, Authority: s.certs.authority}
	return p
}

// start starts the process. It may be called again when the one before has ended.
func (p *place) start() error {
	cmd := exec.Command("/proc/self/exe", roleWorker)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	cmd.Stdout = w
	if p.process, err = p.scene.spawn(p.name, cmd, false); err != nil {
		return err
	}
	ended := p.process.ended
	go func() {
		<-ended
		_ = w.Close()
	}()
	p.in, p.out = in, bufio.NewScanner(r)
	p.out.Buffer(nil, 1<<20)
	if err := json.NewEncoder(in).Encode(p.set); err != nil {
		return err
	}
	if !p.out.Scan() {
		<-ended
		return fmt.Errorf("%s has not started: %v: %s", p.name, p.process.err, p.process.said)
	}
	return nil
}

// inside has the worker push in-process.
func (p *place) inside(what inside) (outcomes, error) {
	p.asking.Lock()
	defer p.asking.Unlock()
	if err := json.NewEncoder(p.in).Encode(what); err != nil {
		return nil, err
	}
	if !p.out.Scan() {
		return nil, fmt.Errorf("%s has ended", p.name)
	}
	var all outcomes
	return all, json.Unmarshal(p.out.Bytes(), &all)
}

// url is the worker's push endpoint.
func (p *place) url() string {
	if len(p.set.Certificate) > 0 {
		return "https://" + p.set.Push
	}
	return "http://" + p.set.Push
}

// warnings returns what the worker has logged as a warning about others.
func (p *place) warnings() (all []string) {
	for line := range strings.Lines(p.process.said.String()) {
		if strings.Contains(line, "level=WARN") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// established returns the other ends of the connections that an address of this machine has accepted, as the kernel names
// them.
func established(address string) (map[string]bool, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(host).To4()
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], number)
	table, err := exec.Command("cat", "/proc/net/tcp").Output() // one read of it all
	if err != nil {
		return nil, err
	}
	ends := make(map[string]bool)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == local && f[3] == "01" {
			ends[f[2]] = true
		}
	}
	return ends, nil
}

// speaksHTTP2 reports whether what listens at an address offers HTTP/2.
func (s *scene) speaksHTTP2(address string) error {
	config, err := tlsOf(s.certs.authority, nil, nil)
	if err != nil {
		return err
	}
	config.NextProtos = []string{"h2", "http/1.1"}
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		return fmt.Errorf("the proxy offers %q, and not HTTP/2", got)
	}
	return nil
}
