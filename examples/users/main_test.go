package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// start runs the program with these arguments, on its own port unless they say which. It returns the page's URL, and a stop that acts
// like a signal, waits for run to return, and returns its error.
func start(t *testing.T, args ...string) (page string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = run(ctx, append([]string{"-listen", "0"}, args...), w)
		w.CloseWithError(err)
	}()
	stop = func() error {
		cancel()
		select {
		case <-ended:
			return err
		case <-time.After(30 * time.Second):
			return errors.New("run does not return")
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	line, readErr := bufio.NewReader(r).ReadString('\n')
	if _, err := fmt.Sscanf(line, "Open %s", &page); err != nil {
		t.Fatalf("the first line is %q (%v)", line, readErr)
	}
	return strings.TrimSuffix(page, "/"), stop
}

// What makes no sense is refused, with the flag that it is about, and nothing is left running.
func TestFlags(t *testing.T) {
	testutil.NoLeak(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	here := taken.Addr().String()
	for _, tt := range []struct {
		args string
		want string
	}{
		{"-h", flag.ErrHelp.Error()},
		{"-nonsense", "not defined: -nonsense"},
		{"more", `unexpected argument "more"`},
		{"-workers 0", "-workers must be from 1 to 10"},
		{"-workers 11", "-workers must be from 1 to 10"},
		{"-workers many", `invalid value "many" for flag -workers`},
		{"-grace 5s", "-grace must be more than 5s"},
		{"-metrics nowhere", "-metrics: "},
		{"-metrics " + here, "-metrics: "},
		{"-probe nowhere", "-probe: "},
		{"-resume soon", `invalid value "soon" for flag -resume`},
		{"-token=\u00e4", "-token must be"},
		{"-token=a\nb", "-token must be"},
		{"-redis redis://127.0.0.1 -nats nats://127.0.0.1", "-redis and -nats exclude each other"},
		{"-redis http://127.0.0.1", "-redis: "},
		{"-nats nats://a%zz", "-nats: "},
		{"-redis redis://127.0.0.1 -key 12", "-key must be 64 hex digits"},
		{"-redis redis://127.0.0.1 -key " + strings.Repeat("xy", 32), "-key must be 64 hex digits"},
		{"-redis redis://127.0.0.1 -key " + strings.Repeat("00", 32), "Cluster.Keys"},
		{"-workers 3 -key " + strings.Repeat("0f", 32), "-key needs -redis or -nats"},
		{"-push nowhere", "-push: "},
		{"-push 127.0.0.1:70000", "-push: "},
		{"-push " + here, "-push: "},
		{"-listen nowhere", "nowhere"},
		{"-listen " + here, here},
		{"-workers 3 -listen " + here, "-listen: "},
		{"-workers 3 -push 127.0.0.1:65535", "-push: "},
	} {
		args := strings.Split(tt.args, " ")
		if !strings.Contains(tt.args, "-listen") {
			args = append([]string{"-listen", "0"}, args...)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := run(ctx, args, io.Discard)
		if cancel(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// While the session of a page that is away has nobody to take it, Shutdown takes what -grace leaves it, and no longer.
func TestGrace(t *testing.T) {
	testutil.NoLeak(t)
	args := []string{"-workers", "2", "-grace", (reserve + 300*time.Millisecond).String()}
	page, stop := start(t, args...)
	tab := logIn(t, page, "ann", "").visit("")
	tab.Next()
	tab.Close()
	begin := time.Now()
	_ = stop() // the session is lost, which is an error
	if took := time.Since(begin); took < 200*time.Millisecond || took > 2*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

// Several workers have push listeners at consecutive ports.
func TestPushPorts(t *testing.T) {
	s := &site{settings: settings{push: "127.0.0.1:0", count: 1}}
	defer func() { _ = s.stop() }()
	var first int
	testutil.Eventually(t, "three free ports in a row", func() bool {
		_ = s.stop()
		s.pushes, s.count, s.push = nil, 1, "127.0.0.1:0"
		if err := s.listenForPushes(); err != nil {
			t.Fatal(err)
		}
		first = s.pushes[0].Addr().(*net.TCPAddr).Port
		_ = s.stop()
		s.pushes, s.count, s.push = nil, 3, fmt.Sprint("127.0.0.1:", first)
		return s.listenForPushes() == nil
	})
	for i, l := range s.pushes {
		if at := l.Addr().(*net.TCPAddr).Port; at != first+i {
			t.Errorf("%d: %d, after %d", i, at, first)
		}
	}
}
