package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// enclose runs this program again in its own network namespace, where it can do anything: it changes nothing on the host
// and takes no port, and everything is gone with the last process in the namespace. entered is false if that is not
// possible.
func enclose(args []string) (entered bool, err error) {
	if os.Getuid() != 0 {
		return false, errors.New("it needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return false, errors.New("ip is missing (Debian: iproute2)")
	}
	cmd := exec.Command("/proc/self/exe", append([]string{"enclosed"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	// Ctrl-C reaches the child as well, which then ends in order; this process passes other signals on.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return false, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return true, err
		case sig := <-signals:
			if sig == syscall.SIGTERM {
				_ = cmd.Process.Signal(sig)
			}
		}
	}
}

// link is a network namespace for clients, linked to this program's. The addresses are reserved for documentation by RFC
// 5737.
type link struct {
	there *os.File // the namespace, which lasts as long as this file and the sockets in it
	ports []string // of the workers
}

const (
	hubAddress = "192.0.2.1"
	farAddress = "192.0.2.2"
)

// newLink makes the namespace and the link.
func newLink(ports []string) (_ *link, err error) {
	l := &link{ports: ports}
	if l.there, err = newNamespace(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	there := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), l.there.Fd())
	for _, args := range []string{
		"link add far type veth peer name hub netns " + there,
		"addr add " + hubAddress + "/24 dev far",
		"link set far up",
	} {
		if err := ip(args); err != nil {
			return nil, err
		}
	}
	return l, l.ip("link set lo up", "addr add "+farAddress+"/24 dev hub", "link set hub up")
}

// newNamespace makes a network namespace.
func newNamespace() (there *os.File, err error) {
	err = elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		there, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return there, err
}

// elsewhere runs f on a thread that enter has moved to another namespace, and moves the thread back. The thread must not
// simply end: the kernel would take that for the death of the parent of any process started on it.
func elsewhere(enter, f func() error) error {
	runtime.LockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer here.Close()
	if err := enter(); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // and nobody else gets the thread
	}
	runtime.UnlockOSThread()
	return err
}

// in runs f in the namespace. Any socket or process that f creates stays in it.
func (l *link) in(f func() error) error {
	return elsewhere(func() error { return unix.Setns(int(l.there.Fd()), unix.CLONE_NEWNET) }, f)
}

func (l *link) dial(ctx context.Context, worker int) (conn net.Conn, err error) {
	address := net.JoinHostPort(hubAddress, l.ports[worker])
	err = l.in(func() error { // a numeric address is dialled in the calling goroutine
		conn, err = dial(ctx, address)
		return err
	})
	return conn, err
}

// ip runs ip(8) commands in the namespace.
func (l *link) ip(commands ...string) error {
	return l.in(func() error {
		for _, args := range commands {
			if err := ip(args); err != nil {
				return err
			}
		}
		return nil
	})
}

// cut takes the link down, or makes the clients' packets go nowhere while packets to them still arrive.
func (l *link) cut(oneWay bool) error {
	if oneWay {
		return l.ip("neigh replace " + hubAddress + " lladdr 02:00:00:00:00:01 dev hub nud permanent")
	}
	return l.ip("link set hub down")
}

func (l *link) mend() error {
	err := l.ip("link set hub up")
	_ = l.ip("neigh del " + hubAddress + " dev hub") // there may be no entry
	return err
}

func (l *link) close() { l.there.Close() }

func (l *link) String() string {
	return "in a network namespace of their own, whose link loses packets"
}

func ip(args string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", args, err, out)
	}
	return nil
}
