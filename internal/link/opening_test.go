package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/testutil"
)

// refusal pushes, and returns the error, which must say that nothing was sent.
func refusal(t *testing.T, asker *worker, url string) error {
	t.Helper()
	_, err := asker.push(t, &Push{Peer: Peer{url, 1}, Data: []byte("a")})
	if !errors.Is(err, ErrNotSent) || errors.Is(err, ErrLost) {
		t.Errorf("the outcome is %v", err)
	}
	return err
}

// A worker is asked again soon after an opening has failed, and more and more seldom as long as they do.
func TestRefusalGrows(t *testing.T) {
	const ms = int64(time.Millisecond)
	o := &outgoing{links: newWorker(t, &holder{}, nil).Links}
	now := int64(1)
	fail := func(took, want int64) {
		t.Helper()
		began := now
		now += took * ms
		got := o.pauseLocked(began, now)
		if got != want*ms {
			t.Errorf("refused for %d ms after %d, want %d", got/ms, now/ms, want)
		}
		now += got
		o.until = now
	}
	fail(0, 30) // nobody listens
	fail(0, 30)
	fail(0, 60)
	fail(0, 120)
	fail(0, 240)
	fail(0, 480)
	fail(0, 960)
	fail(0, 1000)
	fail(0, 1000)
	now += 999 * ms
	fail(0, 1000)
	now += 1001 * ms // nobody has asked for long
	fail(0, 30)
	now += 1001 * ms
	fail(3000, 1000) // nobody answers
}

// Instances that have ended, however many there are, do not have a worker asked again and again.
func TestMissedInstances(t *testing.T) {
	var openings atomic.Int64
	url := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		openings.Add(1)
		http.NotFound(w, r)
	}))
	asker := newWorker(t, &holder{}, nil, func(b *bounds) { b.retry, b.refuse = time.Hour, time.Hour })
	for range 3 {
		for instance := range uint64(20) {
			_, err := asker.push(t, &Push{Peer: Peer{url, 1 + instance}, Data: []byte("a")})
			if !errors.Is(err, ErrNotSent) {
				t.Errorf("the outcome is %v", err)
			}
		}
	}
	if n := openings.Load(); n != maxMissed {
		t.Errorf("%d openings, want %d", n, maxMissed)
	}
}

// A question to an instance that has just been started at the address of another one is answered, although that one could not be reached.
func TestStartedAnew(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	asker := newWorker(t, &holder{}, nil, func(b *bounds) { b.retry, b.refuse = time.Hour, time.Hour })
	url := "http://" + address
	_ = refusal(t, asker, url)
	asked := &worker{holder: &holder{}, url: url}
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Skipf("somebody else has taken the port: %v", err)
	}
	server := &http.Server{Handler: asked.serve(), ReadHeaderTimeout: time.Minute}
	asked.start(t, nil)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-served })
	_ = refusal(t, asker, url) // nobody has heard of another instance yet
	if _, err := asker.push(t, &Push{Peer: Peer{url, 2}, Data: []byte("b")}); err != nil {
		t.Errorf("to the new instance: %v", err)
	}
	if _, err := asker.push(t, &Push{Peer: Peer{url, 1}, Data: []byte("c")}); err != nil {
		t.Errorf("to the former instance, whose successor takes it: %v", err)
	}
}

// Workers whose keys have something in common know each other, and others do not. Neither the place of the opener nor any key is to
// be read from outside.
func TestKeys(t *testing.T) {
	for _, tc := range []struct {
		asker, asked []byte
		ok           bool
	}{
		{[]byte{1}, []byte{1}, true},
		{[]byte{1}, []byte{2, 1}, true},
		{[]byte{1, 2}, []byte{2, 1}, true},
		{[]byte{1}, []byte{2}, false},
		{[]byte{1, 2}, []byte{2}, false}, // the first key proves
	} {
		asked := newWorker(t, &holder{}, func(c *Config) { c.Keys = newKeys(t, tc.asked...) })
		asker := newWorker(t, &holder{}, func(c *Config) { c.Keys = newKeys(t, tc.asker...) })
		_, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")})
		if tc.ok && err != nil || !tc.ok && !errors.Is(err, ErrNotWorker) {
			t.Errorf("%v to %v: %v", tc.asker, tc.asked, err)
		}
		if !tc.ok && asked.holder.count("a") != 0 {
			t.Error("executed")
		}
	}
}

// A worker with the same keys that has another address says so, and proves it.
func TestWrongAddress(t *testing.T) {
	r := newRelay(t)
	asked := newWorker(t, &holder{}, nil)
	r.mu.Lock()
	r.to = strings.TrimPrefix(asked.url, "http://")
	r.mu.Unlock()
	asker := newWorker(t, &holder{}, nil)
	if err := refusal(t, asker, r.url); !errors.Is(err, ErrWrongWorker) || errors.Is(err, ErrNotWorker) {
		t.Errorf("the outcome is %v", err)
	}
	if _, err := asker.Probe(t.Context(), r.url); !errors.Is(err, ErrWrongWorker) {
		t.Errorf("the probe's is %v", err)
	}
}

func TestProbe(t *testing.T) {
	asked := newWorker(t, &holder{}, func(c *Config) { c.Instance = 77 })
	for _, asker := range []*worker{newWorker(t, &holder{}, nil), asked} {
		if instance, err := asker.Probe(t.Context(), asked.url); instance != 77 || err != nil {
			t.Errorf("%d, %v", instance, err)
		}
		if s := asker.Stats(); s.Opened != 0 {
			t.Errorf("%+v", s)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := asked.Probe(ctx, asked.url); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	stranger := newWorker(t, &holder{}, func(c *Config) { c.Keys = newKeys(t, 9) })
	if _, err := stranger.Probe(t.Context(), asked.url); !errors.Is(err, ErrNotWorker) {
		t.Errorf("with other keys: %v", err)
	}
}

func TestTLS(t *testing.T) {
	asked, trusting := newTLSWorker(t, &holder{}, nil)
	asker := newWorker(t, &holder{}, func(c *Config) { c.TLS = trusting })
	for _, size := range []int{100, 16 << 10, 1 << 20} {
		if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: named(fmt.Sprint(size), size)}); err != nil || asked.holder.times()[fmt.Sprint(size)] != 1 {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	distrusting := newWorker(t, &holder{}, nil)
	if err := refusal(t, distrusting, asked.url); errors.Is(err, ErrNotWorker) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without trust: %v", err)
	}
}

// With mutual TLS, the opener shows its certificate.
func TestMutualTLS(t *testing.T) {
	cert, pool := testutil.NewCertificate(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := &worker{holder: &holder{}, url: "https://" + listener.Addr().String()}
	server := &http.Server{Handler: asked.serve(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2", "http/1.1"}}))
	})
	t.Cleanup(func() { server.Close(); serving.Wait() })
	asked.start(t, nil)
	with := newWorker(t, &holder{}, func(c *Config) {
		c.TLS = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	})
	if _, err := with.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Error(err)
	}
	without := newWorker(t, &holder{}, func(c *Config) { c.TLS = &tls.Config{RootCAs: pool} })
	refusal(t, without, asked.url)
}

// An address may have a path before the link's.
func TestPathPrefix(t *testing.T) {
	asked := newWorker(t, &holder{}, func(c *Config) { c.Address += "/a/b" })
	asker := newWorker(t, &holder{}, nil)
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url + "/a/b", 1}, Data: []byte("a")}); err != nil {
		t.Error(err)
	}
}

// What is no worker is told apart from what cannot be reached, and warned about once.
func TestNotWorker(t *testing.T) {
	var warnings bytes.Buffer
	asker := newWorker(t, &holder{}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&warnings, nil)) }, fast, func(b *bounds) { b.refuse = 0 })
	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
		text    string
	}{
		{"404", http.NotFound, ErrNotWorker, "404"},
		{"502", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) }, ErrNotWorker, "502"},
		{"redirect", func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, ErrNotWorker, "307"},
		{"101", func(rw http.ResponseWriter, r *http.Request) {
			(&hijackedBy{t}).answer(rw, r)
		}, ErrNotWorker, "prove"},
	} {
		for range 2 {
			url := testutil.Serve(t, tc.handler)
			for range 3 {
				if err := refusal(t, asker, url); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%s: %v", tc.name, err)
				}
			}
		}
	}
	if n := strings.Count(warnings.String(), "level=WARN"); n != 8 {
		t.Errorf("%d warnings:\n%s", n, &warnings)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := refusal(t, asker, "http://"+listener.Addr().String()); errors.Is(err, ErrNotWorker) {
		t.Errorf("nobody listens: %v", err)
	}
	for _, bad := range []string{"", "x", "http://", "ftp://127.0.0.1:1", "http://127.0.0.1:1/%zz"} {
		if err := refusal(t, asker, bad); errors.Is(err, ErrNotWorker) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// hijackedBy answers a WebSocket handshake as any server would.
type hijackedBy struct{ t *testing.T }

func (h *hijackedBy) answer(rw http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		h.t.Error(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", "x")
}

// A proxy that drops the Upgrade header is named as what it is: the worker behind it has proved itself.
func TestNoWebSockets(t *testing.T) {
	asked := newWorker(t, &holder{}, nil)
	target, err := url.Parse(asked.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	director := proxy.Director
	proxy.Director = func(r *http.Request) {
		director(r)
		r.Header.Del("Upgrade")
		r.Header.Del("Connection")
	}
	proxied := testutil.Serve(t, proxy)
	asked.config.Address = proxied
	var log bytes.Buffer
	asker := newWorker(t, &holder{}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if err := refusal(t, asker, proxied); !errors.Is(err, ErrNotWorker) || !strings.Contains(err.Error(), "WebSockets") {
		t.Errorf("the outcome is %v", err)
	}
	if !strings.Contains(log.String(), "does not let WebSockets through") {
		t.Errorf("the log is %q", log.String())
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// A worker that takes the connection and says nothing is given up after a while, and then refused at once for some time. All that
// wait share the opening.
func TestSilentOpening(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			t.Cleanup(func() { conn.Close() })
		}
	})
	t.Cleanup(func() { listener.Close(); accepting.Wait() })
	silent := "http://" + listener.Addr().String()
	asker := newWorker(t, &holder{}, nil, fast, func(b *bounds) { b.open, b.refuse = 300*time.Millisecond, time.Hour })
	start := time.Now()
	var waiting []<-chan outcome
	for range 20 {
		waiting = append(waiting, asker.pushed(&Push{Peer: Peer{silent, 1}}))
	}
	for _, done := range waiting {
		if o := <-done; !errors.Is(o.err, ErrNotSent) {
			t.Errorf("the outcome is %v", o.err)
		}
	}
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	for range 20 {
		refusal(t, asker, silent)
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("%d connections were made", n)
	}
}

// Someone who has seen a link from its first byte on can send it all again, and gets nothing: no place among the links, no push,
// and the link that stands is not disturbed.
func TestReplay(t *testing.T) {
	r := newRelay(t)
	var adopted atomic.Int64
	asked := behind(t, r, &holder{}, func(c *Config) {
		c.Adopt = func(net.Conn) (func(), bool) { adopted.Add(1); return func() { adopted.Add(-1) }, true }
	}, fast)
	asker := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 }, fast)
	var seen bytes.Buffer
	r.set(func(_ int, up bool, _ int64, p []byte) ([]byte, bool) {
		if up {
			seen.Write(p)
		}
		return p, false
	})
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	r.set(nil)
	for _, part := range []int{bytes.Index(seen.Bytes(), []byte("\r\n\r\n")) + 4, seen.Len()} {
		conn, err := net.Dial("tcp", r.to)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(seen.Bytes()[:part]); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", resp, err)
		}
		_, _ = io.Copy(io.Discard, conn) // until the worker closes it
	}
	if n := asked.holder.count("a"); n != 1 {
		t.Errorf("executed %d times", n)
	}
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("b")}); err != nil || r.connections() != 1 || adopted.Load() != 1 {
		t.Errorf("the link that stood: %v, %d connections, %d adopted", err, r.connections(), adopted.Load())
	}
}

// What an opening says is all proved: nothing of it can be changed on the way, and neither can the answer.
func TestOpeningProof(t *testing.T) {
	c := &Config{Keys: newKeys(t), Address: "http://a", Instance: 5}
	o, err := newOpening(c, "http://b", forLink)
	if err != nil {
		t.Fatal(err)
	}
	key := c.Keys.First()
	proof := key.Prove(o.message())
	head := o.header(proof)
	if strings.Contains(head, "http") {
		t.Errorf("the header shows an address: %s", head)
	}
	if _, _, _, ok := readOpening(c.Keys, o.nonce, head); !ok {
		t.Fatal("refused")
	}
	if _, _, _, ok := readOpening(c.Keys, newNonce(), head); ok {
		t.Error("another nonce is accepted")
	}
	flip := func(s string, i int) string { return s[:i] + string(s[i]^1) + s[i+1:] }
	for i := range head {
		if _, _, _, ok := readOpening(c.Keys, o.nonce, flip(head, i)); ok {
			t.Errorf("byte %d of the opening can be changed", i)
		}
	}
	r := &reception{word: isOpen, instance: 6, nonce: newNonce()}
	answer := r.header(o, key, proof)
	if got, ok := readReception(key, o, proof, answer); !ok || *got != *r {
		t.Fatalf("refused: %+v", got)
	}
	for i := range answer {
		if _, ok := readReception(key, o, proof, flip(answer, i)); ok {
			t.Errorf("byte %d of the answer can be changed", i)
		}
	}
	other, err := newOpening(c, "http://b", forLink)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := readReception(key, other, proof, answer); ok {
		t.Error("the answer to one opening answers another one")
	}
}

func TestServeHTTP(t *testing.T) {
	asked := newWorker(t, &holder{}, nil)
	for path, want := range map[string]int{"/" + address.LinkMarker + "/x": http.StatusForbidden} {
		resp, err := http.Get(asked.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.Header.Get(header) != "" {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, resp.Header)
		}
	}
}

// TestTampered changes each byte of a link's life, one at a time, in both directions. Whatever it does, nothing is executed that was
// not asked, nothing twice, and no answer is believed that was not given.
func TestTampered(t *testing.T) {
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil, fast)
	var requests, total [2]atomic.Int64
	learn := func(_ int, up bool, at int64, p []byte) ([]byte, bool) {
		direction := 0
		if up {
			direction = 1
		}
		if i := bytes.Index(p, []byte("\r\n\r\n")); at == 0 && i >= 0 {
			requests[direction].Store(int64(i))
		}
		total[direction].Store(at + int64(len(p)))
		return p, false
	}
	r.set(learn)
	run := func(name string) {
		asker := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 }, fast)
		for i := range 3 {
			full := fmt.Sprintf("%s-%d", name, i)
			a, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte(full)})
			n := asked.holder.count(full)
			if n > 1 || err == nil && (n != 1 || a.Code != 1) || errors.Is(err, ErrNotSent) && n != 0 {
				t.Errorf("%s: %+v, %v, and executed %d times", full, a, err, n)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		asker.Close(ctx)
	}
	run("learn")
	runs := 0
	for direction := range 2 {
		length := total[direction].Load()
		for at := int64(0); at < length; at++ {
			if at < requests[direction].Load() && at%23 != 0 {
				continue // the heads are long, and have a test of their own
			}
			r.set(func(_ int, up bool, from int64, p []byte) ([]byte, bool) {
				if i := at - from; up == (direction == 1) && i >= 0 && i < int64(len(p)) {
					p[i] ^= 1 << (at % 8)
				}
				return p, false
			})
			run(fmt.Sprintf("%d-%d", direction, at))
			runs++
		}
	}
	r.set(nil)
	for _, key := range asked.holder.executed() {
		if !strings.HasPrefix(key, "learn-") && strings.Count(key, "-") != 2 || len(key) > 14 {
			t.Errorf("executed: %q", key)
		}
	}
	t.Logf("%d bytes were changed", runs)
}

// Refused questions are told in their order, also where one is refused at once while those before it are just being told.
func TestRefusedInOrder(t *testing.T) {
	url := testutil.Serve(t, http.NotFoundHandler())
	asker := newWorker(t, &holder{}, nil, func(b *bounds) { b.retry, b.refuse = time.Hour, time.Hour })
	begun, release, told := make(chan bool), make(chan bool), make(chan string, 3)
	ask := func(name string, done func()) {
		asker.Links.Push(&Push{Peer: Peer{url, 0}, Data: []byte(name), Done: func(int, Answer, error) {
			done()
			told <- name
		}})
	}
	ask("first", func() { close(begun); <-release })
	<-begun
	ask("second", func() {})
	ask("third", func() {})
	if len(told) != 0 {
		t.Errorf("%s was told before the first", <-told)
	}
	close(release)
	for _, want := range []string{"first", "second", "third"} {
		if got := <-told; got != want {
			t.Errorf("%s was told, want %s", got, want)
		}
	}
}

// A question that is refused because its worker is about to end has its outcome after those of its sequence that the worker still answers: sent
// again elsewhere, it would overtake them. It can be given up meanwhile. Others do not wait.
func TestRefusedAfterOthers(t *testing.T) {
	taken, release := make(chan *Incoming, 1), make(chan bool)
	asked := newWorker(t, &holder{answer: func(in *Incoming) { taken <- in }}, nil)
	asker := newWorker(t, &holder{}, nil)
	told := make(chan string, 5)
	var sequence Sequence
	ask := func(name string, s *Sequence) *Push {
		p := &Push{Peer: Peer{asked.url, 1}, Data: []byte(name), Sequence: s}
		p.Done = func(_ int, a Answer, err error) {
			if err == nil {
				<-release // telling takes its time, too
			}
			told <- fmt.Sprint(name, " ", a.Code, " ", err != nil && errors.Is(err, ErrNotSent))
		}
		asker.Links.Push(p)
		return p
	}
	want := func(want string) {
		t.Helper()
		select {
		case got := <-told:
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nothing came in place of %q", want)
		}
	}
	ask("first", &sequence)
	in := <-taken
	asked.Drain()
	o := asker.to(asked.url)
	testutil.Eventually(t, "the link to end", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.link == nil
	})
	ask("second", &sequence)
	third := ask("third", &sequence)
	ask("fourth", &sequence)
	ask("other", new(Sequence))
	want("other 0 true")
	asker.Abandon(third, errLeft)
	want("third 0 true")
	in.Answer(0, Answer{Code: 7})
	testutil.Eventually(t, "the first to be over", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.under == 0
	})
	if len(told) != 0 {
		t.Errorf("told before the first: %s", <-told)
	}
	close(release)
	want("first 7 false")
	want("second 0 true")
	want("fourth 0 true")
	testutil.Eventually(t, "nothing to be left", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return sequence == (Sequence{}) && o.untold == 0 && len(o.deferred) == 0 && len(o.refusals) == 0
	})
}

// Questions of a link that has ended, which go by no other one, are refused in the order in which they were asked.
func TestGivenUpInOrder(t *testing.T) {
	l := newWorker(t, &holder{}, nil).Links
	l.cancel()
	o := &outgoing{links: l, under: 3, counted: 3}
	var asked []*Push
	for i := range 3 {
		asked = append(asked, &Push{flight: flight{order: uint64(i)}})
	}
	o.mu.Lock()
	o.requeueLocked([]*Push{asked[1], asked[2], asked[0]})
	o.mu.Unlock()
	if len(o.refusals) != 3 || o.under != 0 {
		t.Fatalf("%d refused, %d under way", len(o.refusals), o.under)
	}
	for i, r := range o.refusals {
		if r.push != asked[i] || r.err != errClosed {
			t.Errorf("%d: number %d, %v", i, r.push.order, r.err)
		}
	}
}
