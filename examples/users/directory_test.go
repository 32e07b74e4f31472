package main

import (
	"bytes"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/wspush/wspush/internal/testutil"
)

// startRedis starts redis-server on a free port, and ends it with the test. Without the program the test fails: nothing can stand in
// for it.
func startRedis(t *testing.T) (url string) {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().(*net.TCPAddr)
	free.Close()
	output := new(bytes.Buffer)
	process := exec.Command("redis-server", "--port", strconv.Itoa(address.Port), "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "")
	process.Stdout, process.Stderr = output, output
	if err := process.Start(); err != nil {
		t.Fatalf("redis-server, of Debian's package of that name: %v", err)
	}
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
		if t.Failed() {
			t.Logf("redis-server said:\n%s", output)
		}
	})
	testutil.Eventually(t, "redis-server listens", func() bool {
		c, err := net.Dial("tcp", address.String())
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	return "redis://" + address.String()
}

// startNATS starts a NATS server in this process, and ends it with the test.
func startNATS(t *testing.T) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the NATS server is not ready after 20 s")
	}
	return s.ClientURL()
}
