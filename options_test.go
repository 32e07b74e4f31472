package wspush_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// nowhere is an application's listener that has no address.
type nowhere struct{ net.Listener }

func (nowhere) Addr() net.Addr { return nil }

func TestWorkerOptionsRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, opts := range map[string]wspush.WorkerOptions{
		"a listener without address": {Listener: nowhere{taken}},
		"port in use":                {Listen: taken.Addr().String()},
		"no port":                    {Listen: "127.0.0.1"},
		"nonsense":                   {Listen: "a b:c"},
		"Listen and Listener":        {Listen: ":0", Listener: taken},
		"NoListen without Advertise": {NoListen: true},
		"NoListen and Listen":        {NoListen: true, Listen: ":0", Advertise: []string{"x"}},
		"NoListen and Listener":      {NoListen: true, Listener: taken, Advertise: []string{"x"}},
		"NoListen and TLS":           {NoListen: true, TLS: &tls.Config{}, Advertise: []string{"x"}},
		"TLS without certificate":    {TLS: &tls.Config{}},
		"a code for clients":         {ShutdownCode: 1005},
		"a key that is a mistake":    {Cluster: &wspush.Cluster{Keys: [][]byte{make([]byte, 32)}}},
		"Cluster without an address": {Cluster: &wspush.Cluster{Keys: [][]byte{testutil.Key("k")}, Address: "ftp://x"}},
		"no session file":            {SessionFile: "/nowhere/at/all"},
	} {
		w, err := wspush.NewWorker(&opts)
		if err == nil {
			t.Errorf("%s: accepted", name)
			w.Shutdown(t.Context())
		} else if !strings.HasPrefix(err.Error(), "wspush: ") || strings.Count(err.Error(), "wspush:") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := net.Dial("tcp", taken.Addr().String()); err != nil {
		t.Errorf("the application's listener is not open any more: %v", err)
	} else {
		c.Close()
	}
}

func TestOptionsRefused(t *testing.T) {
	w := newWorker(t, nil)
	for name, opts := range map[string]wspush.HandlerOptions{
		"pattern":           {OriginPatterns: []string{"["}},
		"pattern, a path":   {OriginPatterns: []string{"https://example.com/"}},
		"pattern, no host":  {OriginPatterns: []string{"https://"}},
		"empty pattern":     {OriginPatterns: []string{""}},
		"subprotocol":       {Subprotocols: []string{"a b"}},
		"empty subprotocol": {Subprotocols: []string{""}},
		"ping at idle":      {PingInterval: time.Second, IdleTimeout: time.Second},
	} {
		if _, err := wspush.NewHandler(w, &opts); err == nil || !strings.HasPrefix(err.Error(), "wspush: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := wspush.NewHandler(nil, nil); err == nil {
		t.Error("no Worker is accepted")
	}
}

// NewWorker refuses every ShutdownCode that a server must not send.
func TestShutdownCodeRefused(t *testing.T) {
	for _, code := range badCloseCodes {
		if code == 0 {
			continue // the default
		}
		if _, err := wspush.NewWorker(&wspush.WorkerOptions{ShutdownCode: code}); err == nil || !strings.HasPrefix(err.Error(), "wspush: ShutdownCode: ") {
			t.Errorf("ShutdownCode %d: %v", code, err)
		}
	}
}

// badCloseCodes are codes that a server must not send: unassigned, reserved, or for clients alone.
var badCloseCodes = []int{-1, 0, 1, 999, 1004, 1005, 1006, 1010, 1015, 1016, 1999, 2000, 2999, 5000, 65536 + 1000}

// The largest possible limit is a limit.
func TestMaxPushBytesMax(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytes: math.MaxInt64})
	client, _, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	if resp := post(t, address, "", []byte("hello")); resp.StatusCode != 204 {
		t.Error(resp.Status)
	}
	client.Expect(testutil.Text, "hello")
}

// TestTLSRefused: NewWorker refuses a configuration that could serve nothing.
func TestTLSRefused(t *testing.T) {
	certificate, _ := testutil.NewCertificate(t)
	for name, config := range map[string]*tls.Config{
		"no certificate": {},
		"HTTP/2 without its cipher suite": {
			Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := wspush.NewWorker(&wspush.WorkerOptions{TLS: config})
			if err == nil || !strings.HasPrefix(err.Error(), "wspush: ") {
				t.Errorf("NewWorker: %v", err)
			}
			if w != nil {
				w.Shutdown(t.Context())
			}
		})
	}
}

// noteBuffers notes to what the send buffers of its connections are set.
type noteBuffers struct {
	net.Listener
	sizes chan int
}

func (l noteBuffers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return noteBuffer{c.(*net.TCPConn), l.sizes}, nil
}

type noteBuffer struct {
	*net.TCPConn
	sizes chan int
}

func (c noteBuffer) SetWriteBuffer(size int) error {
	c.sizes <- size
	return c.TCPConn.SetWriteBuffer(size)
}

func TestSendBuffer(t *testing.T) {
	for size, want := range map[int]int{0: 256 << 10, 64 << 10: 64 << 10, -1: -1} {
		for _, overTLS := range []bool{false, true} {
			w, err := wspush.NewWorker(&wspush.WorkerOptions{SendBuffer: size, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			sizes := make(chan int, 8)
			var l net.Listener = noteBuffers{tcp, sizes}
			scheme := "ws://"
			if overTLS {
				cert, _ := testutil.NewCertificate(t)
				l, scheme = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}), "wss://"
			}
			server := &http.Server{Handler: newHandler(t, w, nil), ReadHeaderTimeout: 10 * time.Second}
			served := make(chan error)
			go func() { served <- server.Serve(l) }()
			client := testutil.Dial(t, scheme+tcp.Addr().String(), testutil.Options{})
			greeted(t, w, client)
			client.Close()
			got := -1
			select {
			case got = <-sizes:
			default:
			}
			if got != want || len(sizes) > 0 {
				t.Errorf("SendBuffer %d, TLS %v: set to %d", size, overTLS, got)
			}
			server.Close()
			<-served
			if err := w.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
}

// Answers that a publisher does not read take little of the system's memory.
func TestSendBufferOfPublishers(t *testing.T) {
	cert, _ := testutil.NewCertificate(t)
	for name, config := range map[string]*tls.Config{"plain": nil, "TLS": {Certificates: []tls.Certificate{cert}}} {
		t.Run(name, func(t *testing.T) {
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			sizes := make(chan int, 8)
			newWorker(t, &wspush.WorkerOptions{Listener: noteBuffers{tcp, sizes}, Advertise: []string{"127.0.0.1"}, TLS: config})
			c, err := net.Dial("tcp", tcp.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if size := <-sizes; size != answerBuffer {
				t.Errorf("it is set to %d", size)
			}
		})
	}
}
