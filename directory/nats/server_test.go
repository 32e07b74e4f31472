package wspushnats_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// An engine is a NATS server in this process, with JetStream.
type engine struct {
	options *server.Options
	server  *server.Server
	address string
}

// start starts one on a free port, and ends it with the test.
func start(tb testing.TB) *engine {
	tb.Helper()
	e := &engine{options: &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: tb.TempDir(), NoLog: true, NoSigs: true}}
	e.restart(tb)
	tb.Cleanup(func() { e.kill(tb) })
	return e
}

func (e *engine) restart(tb testing.TB) {
	tb.Helper()
	s, err := server.NewServer(e.options)
	if err != nil {
		tb.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		tb.Fatal("the NATS server is not ready after 20 s")
	}
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		tb.Fatal(err)
	}
	e.server, e.address = s, u.Host
	if e.options.Port, err = strconv.Atoi(u.Port()); err != nil {
		tb.Fatal(err)
	}
}

func (e *engine) kill(testing.TB) {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
		e.server = nil
	}
}

// connect reconnects at once, and for ever.
func connect(tb testing.TB, address string) *nats.Conn {
	tb.Helper()
	nc, err := nats.Connect("nats://"+address, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.IgnoreDiscoveredServers(), nats.RetryOnFailedConnect(true))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// An admin does to streams what an operator may do.
type admin struct {
	tb testing.TB // with which its connections end

	mu sync.Mutex // guards what follows
	js map[string]jetstream.JetStream
}

func (a *admin) stream(tb testing.TB, address, name string) jetstream.Stream {
	tb.Helper()
	stream, err := a.on(tb, address).Stream(context.Background(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return stream
}

func (a *admin) on(tb testing.TB, address string) jetstream.JetStream {
	tb.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.js == nil {
		a.js = make(map[string]jetstream.JetStream)
	}
	if a.js[address] == nil {
		js, err := jetstream.New(connect(a.tb, address))
		if err != nil {
			tb.Fatal(err)
		}
		a.js[address] = js
	}
	return a.js[address]
}

func (a *admin) put(tb testing.TB, address, subject, body string) {
	tb.Helper()
	if _, err := a.on(tb, address).Publish(context.Background(), subject, []byte(body)); err != nil {
		tb.Fatal(fmt.Errorf("%s: %w", subject, err))
	}
}
