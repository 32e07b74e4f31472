package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed nginx.conf
var nginxConfig string

// programs are the places to look for nginx: /usr/sbin is not on everyone's PATH.
var programs = []string{"nginx", "/usr/sbin/nginx"}

func findNginx() (string, error) {
	for _, name := range programs {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", errors.New("several workers need nginx in front of them, and it is missing; to install it: apt-get install nginx-light " +
		"(Debian, Ubuntu), dnf install nginx (Fedora), apk add nginx (Alpine), brew install nginx (macOS)")
}

// nginx is a process of nginx. A goroutine waits for it to end.
type nginx struct {
	address string // where it listens
	dir     string // its files
	cmd     *exec.Cmd
	ended   chan struct{} // closed when it has ended
	err     error         // how it ended
}

// startNginx starts nginx in front of the workers, and returns once it answers. If it ends by itself, failed is told; that must have room.
func startNginx(listen string, workers []string, failed chan<- error) (_ *nginx, err error) {
	program, err := findNginx()
	if err != nil {
		return nil, err
	}
	n := &nginx{ended: make(chan struct{})}
	if n.address, err = freeAddress(listen); err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if n.dir, err = os.MkdirTemp("", "wspush-users-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(n.dir)
		}
	}()
	config, err := n.configure(workers)
	if err != nil {
		return nil, err
	}
	// Without -e it would first try its compiled-in log file, which only root may write.
	n.cmd = exec.Command(program, "-p", n.dir, "-c", config, "-e", "stderr")
	n.cmd.Stderr = os.Stderr
	ownGroup(n.cmd)
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		n.err = n.cmd.Wait()
		close(n.ended)
		failed <- errors.New("nginx has ended")
	}()
	if err := n.awaitAnswer(); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

// freeAddress finds out whether nginx can listen at an address, and chooses the port if the system is to do so, since nginx
// cannot. The port may be taken again before nginx has it; then nginx says so.
func freeAddress(listen string) (string, error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// configure writes nginx.conf and returns its path.
func (n *nginx) configure(workers []string) (string, error) {
	parsed, err := template.New("nginx.conf").Parse(nginxConfig)
	if err != nil {
		return "", err
	}
	// When started as root, nginx runs its worker processes as nobody, and they must be able to reach their files in here.
	if err := os.Chmod(n.dir, 0o711); err != nil {
		return "", err
	}
	path := filepath.Join(n.dir, "nginx.conf")
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	listen := n.address
	if strings.HasPrefix(listen, "[::]:") {
		listen += " ipv6only=off" // as Go does
	}
	return path, errors.Join(parsed.Execute(file, map[string]any{"Listen": listen, "Workers": workers}), file.Close())
}

// awaitAnswer waits until nginx passes requests on. An open port is not enough: until then it does not handle its signal to quit.
func (n *nginx) awaitAnswer() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+"/", nil)
		if err != nil {
			return err
		}
		r.Close = true
		if resp, err := http.DefaultClient.Do(r); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-again.C:
		case <-n.ended:
			return errors.New("nginx has ended, see above")
		case <-ctx.Done():
			return errors.New("nginx does not answer")
		}
	}
}

// stop lets nginx finish its requests, waits for it to end, and removes its files.
func (n *nginx) stop() error {
	select {
	case <-n.ended:
	default:
		_ = quitGracefully(n.cmd.Process) // it fails only if the process has just ended
	}
	late := time.AfterFunc(5*time.Second, func() { _ = killGroup(n.cmd.Process) })
	defer late.Stop()
	<-n.ended
	var err error
	if n.err != nil {
		err = fmt.Errorf("nginx: %w", n.err)
	}
	return errors.Join(err, os.RemoveAll(n.dir))
}
