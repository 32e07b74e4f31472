package wspushnats_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// serverPort is the variable of the environment with which this program is a NATS server instead of tests; -1 is any free port.
const serverPort = "WSPUSH_TEST_NATS_PORT"

// serve is a NATS server in a process of its own, so that it can be measured, and killed. It ends when its standard input does.
func serve(port string) {
	number, _ := strconv.Atoi(port)
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: number, JetStream: true, StoreDir: os.Getenv(serverPort + "_FOLDER"), NoLog: true, NoSigs: true,
	})
	if err == nil {
		s.Start()
		if !s.ReadyForConnections(20 * time.Second) {
			err = fmt.Errorf("the NATS server is not ready after 20 s")
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(s.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// A serverProcess is a NATS server in a process of its own.
type serverProcess struct {
	address string
	folder  string
	process *exec.Cmd
	stdin   io.Closer
}

func startProcess(tb testing.TB) *serverProcess {
	tb.Helper()
	p := &serverProcess{folder: tb.TempDir(), address: "127.0.0.1:-1"}
	p.start(tb)
	tb.Cleanup(func() { p.kill() })
	return p
}

func (p *serverProcess) start(tb testing.TB) {
	tb.Helper()
	p.process = exec.Command(os.Args[0])
	_, port, _ := strings.Cut(p.address, ":")
	p.process.Env = append(os.Environ(), serverPort+"="+port, serverPort+"_FOLDER="+p.folder)
	p.process.Stderr = os.Stderr
	stdout, err := p.process.StdoutPipe()
	if err == nil {
		p.stdin, err = p.process.StdinPipe()
	}
	if err == nil {
		err = p.process.Start()
	}
	if err != nil {
		tb.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		tb.Fatalf("the NATS server has not started: %v", err)
	}
	p.address = strings.TrimSpace(line)
}

// kill ends it with SIGKILL.
func (p *serverProcess) kill() {
	if p.process != nil {
		_ = p.process.Process.Kill()
		_ = p.process.Wait()
		_ = p.stdin.Close()
		p.process = nil
	}
}
