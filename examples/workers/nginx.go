package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	return "", errors.New("nginx is missing; to install it: apt-get install nginx-light (Debian, Ubuntu), dnf install nginx (Fedora), " +
		"apk add nginx (Alpine), brew install nginx (macOS)")
}

// startNginx starts nginx and returns once it proxies requests. An open port is not enough: until then nginx does not handle
// its signal to quit.
func startNginx(program string, s *site) (*process, error) {
	config, err := configure(s)
	if err != nil {
		return nil, err
	}
	// Without -e it would first try its compiled-in log file, which only root may write.
	cmd := exec.Command(program, "-p", s.dir, "-c", config, "-e", "stderr")
	cmd.Stderr = os.Stderr
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := await("nginx", cmd, func() error { return quitGracefully(cmd.Process) }, s.died)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !s.answers(ctx) {
		select {
		case <-again.C:
		case <-p.ended:
			return nil, fmt.Errorf("nginx has ended: %s", ending(p.err))
		case <-ctx.Done():
			return nil, errors.Join(errors.New("nginx does not proxy requests"), p.stop())
		}
	}
	return p, nil
}

// answers reports whether worker 1 can be reached through nginx.
func (s *site) answers(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.publicURL+"/workers/1", nil)
	if err != nil {
		return false
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

// configure writes nginx.conf and returns its path.
func configure(s *site) (string, error) {
	parsed, err := template.New("nginx.conf").Parse(nginxConfig)
	if err != nil {
		return "", err
	}
	// When started as root, nginx runs its worker processes as nobody, and they must be able to reach their files in here.
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, "nginx.conf")
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	last := len(s.places) - 1
	return path, errors.Join(parsed.Execute(file, map[string]any{
		"Listen": s.address, "Workers": s.places[:last], "Publisher": s.places[last],
	}), file.Close())
}
