package wspush_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// entrances are the ways that requests take through the push listener.
var entrances = map[string]func(*testing.T, *wspush.WorkerOptions) (publisher *tls.Config){
	"lane": func(*testing.T, *wspush.WorkerOptions) *tls.Config { return nil },
	"authorized": func(_ *testing.T, opts *wspush.WorkerOptions) *tls.Config {
		opts.AuthorizePush = func(*http.Request) error { return nil }
		return nil
	},
	"TLS": overTLS,
	"authorized, TLS": func(t *testing.T, opts *wspush.WorkerOptions) *tls.Config {
		opts.AuthorizePush = func(r *http.Request) error { // an application that asks somebody else
			ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
			defer cancel()
			return ctx.Err()
		}
		return overTLS(t, opts)
	},
}

func overTLS(t *testing.T, opts *wspush.WorkerOptions) *tls.Config {
	certificate, pool := testutil.NewCertificate(t)
	opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// place is a worker in a bubble of fake time, with publishers on pipes and a client that reads everything.
type place struct {
	*wspush.Worker
	conn     *wspush.Conn
	listener *pipes
	tls      *tls.Config // the publishers'; nil: none

	mu  sync.Mutex // guards got
	got []string   // by the client
}

func newPlace(t *testing.T, entrance string, opts wspush.WorkerOptions) *place {
	t.Helper()
	return newPlaceBy(t, entrances[entrance], opts)
}

func newPlaceBy(t *testing.T, entrance func(*testing.T, *wspush.WorkerOptions) *tls.Config, opts wspush.WorkerOptions) *place {
	t.Helper()
	p := &place{listener: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}}
	opts.Listener, opts.Advertise = p.listener, []string{"http://push.test"}
	opts.Logger = slog.New(slog.DiscardHandler)
	p.tls = entrance(t, &opts)
	p.Worker = newWorker(t, &opts)
	h := newHandler(t, p.Worker, &wspush.HandlerOptions{IdleTimeout: -1, PingInterval: -1})
	client := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
	p.conn, _ = greeted(t, p.Worker, client)
	go func() {
		for {
			_, data, err := client.Message()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.got = append(p.got, string(data))
			p.mu.Unlock()
		}
	}()
	return p
}

// messages returns what the client has received so far.
func (p *place) messages() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// noted is the server's end of a pipe. It tells when the server closes it.
type noted struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *noted) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// dial connects a publisher, below TLS. closed delivers how long the server kept the connection.
func (p *place) dial(t *testing.T) (conn net.Conn, closed <-chan time.Duration) {
	t.Helper()
	publisher, server := net.Pipe()
	t.Cleanup(func() { publisher.Close() })
	n := &noted{Conn: server, closed: make(chan struct{})}
	kept, began := make(chan time.Duration, 1), time.Now()
	p.listener.conns <- n
	go func() {
		<-n.closed
		kept <- time.Since(began)
	}()
	return publisher, kept
}

// secure adds TLS if the place has it.
func (p *place) secure(conn net.Conn) net.Conn {
	if p.tls == nil {
		return conn
	}
	return tls.Client(conn, p.tls)
}

// request is a request in short: "\n" is a line's end, "<LF>" a bare one, "ID" the client's, and "PUSH" the lines that push
// to it.
func (p *place) request(short string) string {
	push := "POST /ws/@connections/" + p.conn.ID() + " HTTP/1.1\r\nHost: x"
	return strings.NewReplacer("<LF>", "\n", "\n", "\r\n", "ID", p.conn.ID(), "PUSH", push).Replace(short)
}

// push is a good publisher's push, which must take no time.
func (p *place) push(t *testing.T, data string) {
	t.Helper()
	began := time.Now()
	conn, _ := p.dial(t)
	defer conn.Close()
	conn = p.secure(conn)
	fmt.Fprintf(conn, p.request("PUSH\nContent-Length: %d\n\n%s"), len(data), data)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != 204 {
		t.Fatalf("a good publisher gets %v, %v", resp, err)
	}
	if took := time.Since(began); took != 0 {
		t.Errorf("a good publisher waits %v", took)
	}
}

// statuses reads all answers and joins their statuses.
func statuses(r io.Reader) string {
	var all []string
	in := bufio.NewReader(r)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return strings.Join(all, " ")
		}
		all = append(all, fmt.Sprint(resp.StatusCode))
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}

// dribble sends a byte a second until it is told to stop.
func dribble(c net.Conn, s string) {
	for i := range len(s) {
		if _, err := io.WriteString(c, s[i:i+1]); err != nil {
			return
		}
		<-time.After(time.Second)
	}
}

// pour sends the same bytes again and again for as long as someone reads them.
func pour(c net.Conn, s string) {
	s = strings.Repeat(s, 1+(32<<10)/len(s))
	for {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
	}
}

// TestHostilePublishers: whatever publishers do, all at once, the worker answers each or closes its connection in bounded time,
// and pushes none of it. A good publisher beside them does not notice.
func TestHostilePublishers(t *testing.T) {
	const (
		header = 10 * time.Second // and as much again where a lane has waited for the first byte
		body   = 30 * time.Second
		idle   = 2 * time.Minute
		deaf   = 16 * time.Second // for an answer, and for the goodbye of TLS
	)
	sendAnd := func(s string, then func(net.Conn, string), what string) func(net.Conn, func(string) string) {
		return func(c net.Conn, request func(string) string) {
			io.WriteString(c, request(s))
			then(c, request(what))
		}
	}
	const (
		fine    = "PUSH\nContent-Length: 4\n\nfine"
		get     = "GET /ws/@connections/ID HTTP/1.1\nHost: x\n"
		chunked = "PUSH\nTransfer-Encoding: chunked\n\n"
		nobody  = "POST /ws/@connections/" + unknownID + " HTTP/1.1\nHost: x\n"
	)
	long := strings.Repeat("evil", 100)
	tests := []hostile{
		{"says nothing", send(""), false, "", header},
		{"a header that stops", send("PUSH\nContent-Len"), false, "400", 2 * header},
		{"a header, byte by byte", sendAnd("", dribble, "PUSH\nX: "+long), false, "400", 2 * header},
		{"a header that stops, after a push", sendAnd(fine, dribble, "PUSH\nCon"), false, "204 400", 2 * header},
		{"a header, byte by byte, after a push", sendAnd(fine, dribble, "PUSH\nX: "+long), false, "204 400", 2 * header},
		{"a header that stops, after a GET", send(get + "\nPUSH\nCon"), false, "200 400", 2 * header},
		{"line breaks, one by one", sendAnd("", dribble, strings.Repeat("\n", 100)), false, "?", 2 * header},
		{"idle after a push", send(fine), false, "204", idle},
		{"idle after a GET", send(get + "\n"), false, "200", idle},
		{"a header without end", sendAnd("PUSH\n", pour, "X: evil\n"), false, "431", time.Second},
		{"a request line without end", sendAnd("POST /", pour, "evil"), false, "431", time.Second},
		{"line breaks without end", sendAnd("", pour, "\n"), false, "400", time.Second},
		{"nonsense without end", sendAnd("", pour, "evil\n"), false, "400", time.Second},
		{"a body that does not come", send("PUSH\nContent-Length: 4\n\n"), false, "408", body + time.Second},
		{"a body that stops", send("PUSH\nContent-Length: 5\n\nevil"), false, "408", body + time.Second},
		{"a body, byte by byte", sendAnd("PUSH\nContent-Length: 400\n\n", dribble, long), false, "408", body + time.Second},
		{"chunks that stop", send(chunked + "4\nevil\n"), false, "408", body + time.Second},
		{"a chunk that stops", send(chunked + "5\nevil"), false, "408", body + time.Second},
		{"a chunk, byte by byte", sendAnd(chunked+"fff\n", dribble, long), false, "408", body + time.Second},
		{"a chunk's size, byte by byte", sendAnd(chunked, dribble, "1;x="+long), false, "408", body + time.Second},
		{"a trailer, byte by byte", sendAnd(chunked+"0\n", dribble, "X: "+long), false, "400", body + time.Second},
		{"a trailer without end", sendAnd(chunked+"0\n", pour, "X: evil\n"), false, "400", 10 * time.Second},
		{"a body that stops, after a push", send(fine + "PUSH\nContent-Length: 5\n\nevil"), false, "204 408", body + time.Second},
		{"a body that is asked for", send("PUSH\nContent-Length: 5\nExpect: 100-continue\n\n"), false, "100 408", body + time.Second},
		{"a body for nobody, byte by byte", sendAnd(nobody+"Content-Length: 400\n\n", dribble, long), false, "410", header},
		{"a chunk for nobody, byte by byte", sendAnd(nobody+"Transfer-Encoding: chunked\n\n9\n", dribble, long), false, "410", header},
		{"a GET with a body, byte by byte", sendAnd(get+"Content-Length: 400\n\n", dribble, long), false, "200", body + header},
		{"a body without end", sendAnd("PUSH\nContent-Length: 999999999999\n\n", pour, "evil"), false, "413", time.Second},
		{"chunks without end", sendAnd(chunked, pour, "fff\n"+strings.Repeat("e", 0xfff)+"\n"), false, "413", 10 * time.Second},
		{"pushes, without reading the answers", sendAnd("", pour, fine), true, "", deaf},
		{"GETs, without reading the answers", sendAnd("", pour, get+"\n"), true, "", deaf},
		{"nonsense, without reading the answer", sendAnd("", pour, "evil\n"), true, "", deaf},
		{"a long body, without reading the answer", sendAnd("PUSH\nContent-Length: 99999999999\n\n", pour, "evil"), true, "", deaf},
	}
	for entrance := range entrances {
		t.Run(entrance, func(t *testing.T) { besiege(t, entrance, tests, 0) })
	}
}

// TestHostileToNetHTTP: what http.Server answers by itself, before it calls the handler.
func TestHostileToNetHTTP(t *testing.T) {
	for entrance := range entrances {
		t.Run(entrance, func(t *testing.T) {
			besiege(t, entrance, []hostile{
				{"an expectation that is none", send("PUSH\nContent-Length: 4\nExpect: the best\n\n"), false, "417", 45 * time.Second},
				{"OPTIONS *", send("OPTIONS * HTTP/1.1\nHost: x\nContent-Length: 4\n\n"), false, "204", 45 * time.Second},
			}, 0)
		})
	}
}

// hostile is a hostile publisher.
type hostile struct {
	name   string
	do     func(c net.Conn, request func(string) string)
	deaf   bool   // it does not read
	want   string // the statuses of its answers; "?" is any
	within time.Duration
}

// send makes a publisher that sends this and waits.
func send(s string) func(net.Conn, func(string) string) {
	return func(c net.Conn, request func(string) string) { io.WriteString(c, request(s)) }
}

// TestDeafWithoutPushTimeout: without a limit on waiting for a client, the wait for a publisher is still limited.
func TestDeafWithoutPushTimeout(t *testing.T) {
	get := func(c net.Conn, request func(string) string) {
		pour(c, request("GET /ws/@connections/ID HTTP/1.1\nHost: x\n\n"))
	}
	besiege(t, "authorized", []hostile{{"GETs, without reading the answers", get, true, "", 10 * time.Second}}, -1)
}

// besiege runs all of them at once.
func besiege(t *testing.T, entrance string, tests []hostile, pushTimeout time.Duration) {
	testutil.NoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, entrance, wspush.WorkerOptions{MaxPushBytes: 1000, PushTimeout: pushTimeout})
		var running sync.WaitGroup
		over := make(chan struct{})
		for _, tc := range tests {
			conn, closed := p.dial(t)
			running.Go(func() {
				c := p.secure(conn)
				go tc.do(c, p.request)
				got := ""
				if !tc.deaf {
					c.SetReadDeadline(time.Now().Add(time.Hour))
					got = statuses(c)
				}
				select {
				case took := <-closed:
					if took > tc.within {
						t.Errorf("%s: the connection lasts %v, more than %v", tc.name, took, tc.within)
					}
				case <-time.After(time.Hour):
					t.Errorf("%s: the connection lasts", tc.name)
				}
				conn.Close()
				if got != tc.want && tc.want != "?" {
					t.Errorf("%s: answered %q, want %q", tc.name, got, tc.want)
				}
			})
		}
		go func() {
			running.Wait()
			close(over)
		}()
		beside(t, p, over)
	})
}

// beside pushes every few seconds until the siege is over, and checks that nothing else has reached the client.
func beside(t *testing.T, p *place, over <-chan struct{}) {
	t.Helper()
	for done := false; !done; {
		p.push(t, "good")
		select {
		case <-over:
			done = true
		case <-time.After(7 * time.Second):
		}
	}
	for _, message := range p.messages() {
		if message != "good" && message != "fine" {
			t.Errorf("the client gets %q", message)
		}
	}
}

// http2Frame is a frame of HTTP/2 (RFC 9113 section 4.1).
func http2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	f = append(f, flags)
	f = binary.BigEndian.AppendUint32(f, stream)
	return append(f, payload...)
}

// http2Fields are the fields of a request in HPACK: each of them literal, and not Huffman coded (RFC 7541 section 6.2.2).
func http2Fields(pairs ...string) []byte {
	var b []byte
	for i, s := range pairs {
		if i%2 == 0 {
			b = append(b, 0)
		}
		b = append(append(b, byte(len(s))), s...)
	}
	return b
}

const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameWindow, frameContinuation = 0, 1, 3, 4, 6, 8, 9
	endStream, endHeaders                                                                         = 1, 4
	preface                                                                                       = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
)

// TestHostileTLS is TestHostilePublishers for what TLS and HTTP/2 add.
func TestHostileTLS(t *testing.T) { testHostileTLS(t, false) }

// TestDeafOverHTTP2: publishers that read nothing.
func TestDeafOverHTTP2(t *testing.T) {
	testHostileTLS(t, true)
}

func testHostileTLS(t *testing.T, deaf bool) {
	t.Helper()
	needsHTTP2InBubbles(t)
	const (
		header = 10 * time.Second
		body   = 30 * time.Second
		idle   = 2 * time.Minute
		answer = 15 * time.Second // and for the goodbye of TLS
	)
	// A ClientHello, in a record of its own.
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	hello2 := preface + string(http2Frame(frameSettings, 0, 0, nil))
	request := func(stream uint32, flags byte, id, method string) []byte {
		return http2Frame(frameHeaders, flags, stream,
			http2Fields(":method", method, ":scheme", "https", ":authority", "x", ":path", "/ws/@connections/"+id))
	}
	post := func(stream uint32, id string) []byte { return request(stream, endHeaders, id, "POST") }
	strangers := func(stream uint32, _ string) []byte { return post(stream, unknownID) }
	get := func(stream uint32, id string) []byte { return request(stream, endHeaders|endStream, id, "GET") }
	unended := func(stream uint32, id string) []byte { return request(stream, 0, id, "POST") }
	// each makes a flood of what make makes for every stream.
	each := func(n int, make func(stream uint32, id string) []byte) func(string) string {
		return func(id string) string {
			b := bytes.NewBufferString(hello2)
			for i := range n {
				b.Write(make(uint32(2*i+1), id))
			}
			return b.String()
		}
	}
	raw := func(s string) func(string) string { return func(string) string { return s } }
	ping := func(uint32, string) []byte { return http2Frame(framePing, 0, 0, []byte("12345678")) }
	setting := func(uint32, string) []byte { return http2Frame(frameSettings, 0, 0, nil) }
	tests := []struct {
		name   string
		alpn   string // "": no TLS at all
		send   func(id string) string
		deaf   bool
		within time.Duration
	}{
		{"says nothing", "", raw(""), false, header},
		{"a handshake that stops", "", raw(hello), false, header},
		{"a record that stops", "", raw(hello[:4]), false, header},
		{"no TLS", "", raw("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"), false, time.Second},
		{"another protocol", "smtp", raw(""), false, header},
		{"no preface", "h2", raw(""), false, header},
		{"half a preface", "h2", raw(preface[:5]), false, header},
		{"another preface", "h2", raw("GET /ws HTTP/1.1\r\nHost: x\r\n\r\n"), false, header},
		{"no settings", "h2", raw(preface), false, idle + header},
		{"silence", "h2", raw(hello2), false, idle + header},
		{"half a frame", "h2", raw(hello2 + "\x00\x10\x00"), false, idle + header},
		{"a header that stops", "h2", each(1, unended), false, idle + header},
		{"bodies that do not come", "h2", each(200, post), false, body + idle + header},
		{"bodies that stop", "h2", each(200, func(s uint32, id string) []byte {
			return append(post(s, id), http2Frame(frameData, 0, s, []byte("evil"))...)
		}), false, body + idle + header},
		{"bodies for nobody", "h2", each(200, strangers), false, body + idle + header},
		{"too many streams", "h2", each(1000, post), false, body + idle + header},
		{"reset streams", "h2", each(1000, func(s uint32, id string) []byte {
			return append(post(s, id), http2Frame(frameReset, 0, s, []byte{0, 0, 0, 8})...)
		}), false, body + idle + header},
		{"settings", "h2", each(3000, setting), false, idle + header},
		{"settings, without reading", "h2", each(12000, setting), true, idle + header},
		{"pings", "h2", each(3000, ping), false, idle + header},
		{"pings, without reading", "h2", each(12000, ping), true, idle + header},
		{"a header without end", "h2", func(id string) string {
			return each(1, unended)(id) +
				strings.Repeat(string(http2Frame(frameContinuation, 0, 1, http2Fields("x", strings.Repeat("e", 100)))), 2000)
		}, false, idle + header},
		{"GETs, without reading the answers", "h2", each(100, get), true, answer},
		{"bodies that do not come, without reading", "h2", each(100, post), true, body + answer},
		{"no window for the answers", "h2", func(id string) string {
			return preface + string(http2Frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0})) +
				each(100, get)(id)[len(hello2):]
		}, false, answer + idle + header},
	}
	testutil.NoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, "TLS", wspush.WorkerOptions{MaxPushBytes: 1000})
		var running sync.WaitGroup
		over := make(chan struct{})
		for _, tc := range tests {
			if tc.deaf != deaf {
				continue
			}
			conn, closed := p.dial(t)
			running.Go(func() {
				c := conn
				if tc.alpn != "" {
					config := p.tls.Clone()
					config.NextProtos = []string{tc.alpn}
					c = tls.Client(conn, config)
				}
				go io.WriteString(c, tc.send(p.conn.ID()))
				if !tc.deaf {
					go io.Copy(io.Discard, c)
				}
				select {
				case took := <-closed:
					if took > tc.within {
						t.Errorf("%s: the connection lasts %v, more than %v", tc.name, took, tc.within)
					}
				case <-time.After(time.Hour):
					t.Errorf("%s: the connection lasts", tc.name)
				}
				conn.Close()
			})
		}
		go func() {
			running.Wait()
			close(over)
		}()
		beside(t, p, over)
	})
}

// windowless is a publisher over HTTP/2 that takes no part of any answer. It has sent as many requests as may be open at a time.
type windowless struct {
	mu    sync.Mutex // guards reset
	reset int        // requests, by the worker
}

func (p *place) windowless(t *testing.T, requests func(stream uint32) []byte) *windowless {
	t.Helper()
	conn, _ := p.dial(t)
	config := p.tls.Clone()
	config.NextProtos = []string{"h2"}
	c := tls.Client(conn, config)
	b := bytes.NewBufferString(preface + string(http2Frame(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0})))
	for i := range uint32(100) {
		b.Write(requests(2*i + 1))
	}
	go c.Write(b.Bytes())
	w := &windowless{}
	go func() {
		for {
			var head [9]byte
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, c, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
				return
			}
			if head[3] == frameReset {
				w.mu.Lock()
				w.reset++
				w.mu.Unlock()
			}
		}
	}()
	return w
}

// open returns how many requests of all of them have not been reset.
func open(all []*windowless) int {
	synctest.Wait()
	n := 0
	for _, w := range all {
		w.mu.Lock()
		n += 100 - w.reset
		w.mu.Unlock()
	}
	return n
}

// overHTTP2 sends a good publisher's GET of the client, and returns the status of the answer, which must take no time.
func (p *place) overHTTP2(t *testing.T) int {
	t.Helper()
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: p.tls, DialContext: func(context.Context, string, string) (net.Conn, error) {
		conn, _ := p.dial(t)
		return conn, nil
	}}
	defer transport.CloseIdleConnections()
	began := time.Now()
	resp, err := transport.RoundTrip(newRequest(t, "GET", "https://push.test/ws/@connections/"+p.conn.ID(), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if took := time.Since(began); resp.ProtoMajor != 2 || took != 0 {
		t.Errorf("a good publisher has its answer over %s after %v", resp.Proto, took)
	}
	return resp.StatusCode
}

// TestUntakenOverHTTP2: answers over HTTP/2 that nobody takes are bounded in number and in time, whatever they say. They keep nobody out,
// and hold up nobody's Shutdown.
func TestUntakenOverHTTP2(t *testing.T) {
	needsHTTP2InBubbles(t)
	request := func(method, path string, more ...string) func(uint32) []byte {
		fields := http2Fields(append([]string{":method", method, ":scheme", "https", ":authority", "x", ":path", path}, more...)...)
		return func(stream uint32) []byte { return http2Frame(frameHeaders, endHeaders|endStream, stream, fields) }
	}
	for name, requests := range map[string]func(uint32) []byte{
		"refused":  request("POST", "/ws/@connections/"+unknownID),
		"GET":      request("GET", "/@ready"),
		"PUT":      request("PUT", "/"),
		"no link":  request("GET", "/@link/x"),
		"too many": nil,
	} {
		t.Run(name, func(t *testing.T) {
			testutil.NoLeak(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t, "TLS", wspush.WorkerOptions{MaxPushConns: 10, Cluster: &wspush.Cluster{Keys: [][]byte{testutil.Key("own")}, Address: "http://push.test"}})
				if requests == nil { // a body that does not come, for each place
					requests = request("POST", "/ws/@connections/"+unknownID)
					post := http2Fields(":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/ws/@connections/"+p.conn.ID())
					p.windowless(t, func(stream uint32) []byte { return http2Frame(frameHeaders, endHeaders, stream, post) })
					synctest.Wait()
				}
				var all []*windowless
				for range 4 {
					all = append(all, p.windowless(t, requests))
				}
				if n := open(all); n > 100 {
					t.Errorf("%d answers are left untaken", n)
				}
				<-time.After(100 * time.Millisecond)
				if n := open(all); n == 0 || n > 50 {
					t.Errorf("%d answers are left untaken for long", n)
				}
				want := 200
				if name == "too many" {
					want = 503
				}
				if got := p.overHTTP2(t); got != want {
					t.Errorf("a good publisher gets %d", got)
				}
				if name == "GET" {
					began := time.Now()
					if err := p.Shutdown(t.Context()); err != nil || time.Since(began) > time.Second {
						t.Errorf("Shutdown: %v after %v", err, time.Since(began))
					}
					return
				}
				<-time.After(11 * time.Second)
				if n := open(all); n > 0 {
					t.Errorf("%d answers are left untaken for longer than 10 s", n)
				}
			})
		})
	}
}

// TestUntakenBulkOverHTTP2: a bulk request counts until its answers are taken, or that has taken too long.
func TestUntakenBulkOverHTTP2(t *testing.T) {
	needsHTTP2InBubbles(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, "TLS", wspush.WorkerOptions{MaxPushConns: 10})
		fields := http2Fields(":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/ws/@connections",
			"content-type", "application/x-ndjson; answer=after")
		all := []*windowless{p.windowless(t, func(stream uint32) []byte {
			return http2Frame(frameHeaders, endHeaders|endStream, stream, fields)
		})}
		<-time.After(100 * time.Millisecond)
		if n := open(all); n != 100 {
			t.Errorf("%d answers are left untaken", n)
		}
		if got := p.overHTTP2(t); got != 503 {
			t.Errorf("beside them, a good publisher gets %d", got)
		}
		<-time.After(10 * time.Second)
		if n, got := open(all), p.overHTTP2(t); n > 0 || got != 200 {
			t.Errorf("%d answers are left untaken for longer than 10 s; a good publisher gets %d", n, got)
		}
	})
}

// TestLateAnswers: the time for taking an answer begins with the answer, and not with the request.
func TestLateAnswers(t *testing.T) {
	needsHTTP2InBubbles(t)
	for name, proto := range map[string]string{"authorized": "", "authorized, TLS": "http/1.1", "over HTTP/2": "h2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlaceBy(t, func(t *testing.T, opts *wspush.WorkerOptions) *tls.Config {
					opts.AuthorizePush = func(*http.Request) error {
						<-time.After(15 * time.Second)
						return nil
					}
					if proto != "" {
						return overTLS(t, opts)
					}
					return nil
				}, wspush.WorkerOptions{})
				if proto == "h2" {
					transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: p.tls, DialContext: func(context.Context, string, string) (net.Conn, error) {
						conn, _ := p.dial(t)
						return conn, nil
					}}
					defer transport.CloseIdleConnections()
					for _, method := range []string{"GET", "POST"} {
						request, err := http.NewRequestWithContext(t.Context(), method, "https://push.test/ws/@connections/"+p.conn.ID(), nil)
						if err != nil {
							t.Fatal(err)
						}
						resp, err := transport.RoundTrip(request)
						if err != nil || resp.StatusCode >= 300 {
							t.Fatalf("%s: %v, %v", method, resp, err)
						}
						resp.Body.Close()
					}
					return
				}
				push := "PUSH\nContent-Length: 4\nExpect: 100-continue\nConnection: close\n\nfine"
				if got := p.converse(t, p.request("GET /ws/@connections/ID HTTP/1.1\nHost: x\n\n"+push)); got != "200 100 204" {
					t.Errorf("answered %s", got)
				}
			})
		})
	}
}

// converse sends pieces one after the other on a new connection. It returns the statuses of the answers until the worker
// closes it.
func (p *place) converse(t *testing.T, pieces ...string) string {
	t.Helper()
	conn, _ := p.dial(t)
	defer conn.Close()
	c := p.secure(conn)
	go func() {
		for _, piece := range pieces {
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}()
	return statuses(c)
}

// TestPipelined: requests that a publisher sends without waiting for answers, in whatever pieces, are answered in order.
func TestPipelined(t *testing.T) {
	const push, unknown = "PUSH\nContent-Length: 1\n\n", "POST /ws/@connections/" + unknownID + " HTTP/1.1\nHost: x\n"
	for _, tc := range []struct{ name, requests, want, messages string }{
		{"short", push + "a" + push + "b" + "PUSH\nTransfer-Encoding: chunked\nConnection: close\n\n1\nc\n0\n\n", "204 204 204", "a b c"},
		{"plain first", push + "a" + push + "b" + unknown + "Content-Length: 1\n\nx" + push + "c" +
			"GET /ws/@connections/ID HTTP/1.1\nHost: x\n\n" + push + "d" +
			"PUSH\nTransfer-Encoding: chunked\n\n1\ne\n2\nfg\n0\n\n" + push + "h" +
			"OPTIONS / HTTP/1.1\nHost: x\nConnection: close\n\n", "204 204 410 204 200 204 204 204 204", "a b c d efg h"},
		{"plain last", "PUSH\nContent-Length: 1\nExpect: 100-continue\n\na" + push + "\xff" + push + "b" +
			"PUSH\nContent-Length: 1\nConnection: close\n\nc" + push + "d", "204 400 204 204", "a b c"},
		{"refused in the midst", push + "a" + unknown + "Transfer-Encoding: chunked\n\n" + push + "b", "204 410", "a"},
	} {
		for entrance := range entrances {
			t.Run(tc.name+" "+entrance, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPlace(t, entrance, wspush.WorkerOptions{})
					all := p.request(tc.requests)
					step := map[string]int{"lane": 7, "authorized": 13, "TLS": 61, "authorized, TLS": 61}[entrance]
					if tc.name == "short" {
						step /= 7
					}
					check := func(pieces ...string) {
						before := len(p.messages())
						if got := p.converse(t, pieces...); strings.TrimPrefix(got, "100 ") != tc.want {
							t.Fatalf("cut at %d: answered %s, want %s", len(pieces[0]), got, tc.want)
						}
						if got := strings.Join(p.messages()[before:], " "); got != tc.messages {
							t.Fatalf("cut at %d: the client gets %q, want %q", len(pieces[0]), got, tc.messages)
						}
					}
					check(strings.Split(all, "")...)
					for i := 0; i <= len(all); i += step {
						check(all[:i], all[i:])
					}
				})
			})
		}
	}
}

// A connection that a lane hands over has no deadline set.
func TestHandedOverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, "lane", wspush.WorkerOptions{PushTimeout: -1})
		conn, _ := p.dial(t)
		in := bufio.NewReader(conn)
		for _, request := range []string{
			"PUSH\nContent-Length: 4\n\nfine", "GET /ws/@connections/ID HTTP/1.1\nHost: x\n\n", "PUSH\nContent-Length: 4\n\nfine",
		} {
			go io.WriteString(conn, p.request(request))
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode >= 300 {
				t.Fatalf("%q: %v, %v", request, resp, err)
			}
			io.Copy(io.Discard, resp.Body)
			<-time.After(100 * time.Second)
		}
	})
}

// TestSmuggling: a request that could be read in two ways is refused and its connection closed, or it is read as RFC 9112 says.
// A body is never taken for a request.
func TestSmuggling(t *testing.T) {
	const evil = "PUSH\nContent-Length: 4\nConnection: close\n\nevil"
	const last = "GET /ws/@connections/ID HTTP/1.1\nHost: x\nConnection: close\n\n"
	const nobody = "POST /ws/@connections/" + unknownID + " HTTP/1.1\nHost: x\n"
	for _, tc := range []struct{ name, request, want, messages string }{
		// Transfer-Encoding counts (RFC 9112 section 6.3): the body is "one", or ends after the last chunk.
		{"both, a body in chunks", "PUSH\nContent-Length: 3\nTransfer-Encoding: chunked\n\n3\none\n0\n\n" + last, "204 200", "one"},
		{"both, the other way round", "PUSH\nTransfer-Encoding: chunked\nContent-Length: 3\n\n3\none\n0\n\n" + last, "204 200", "one"},
		{"both, a body of a length", "PUSH\nContent-Length: 3\nTransfer-Encoding: chunked\n\none" + evil, "400", ""},
		{"both, for nobody", nobody + "Content-Length: 9\nTransfer-Encoding: chunked\n\n0\n\n" + evil, "410", ""},
		{"both, another method", "PUT /ws HTTP/1.1\nHost: x\nContent-Length: 9\nTransfer-Encoding: chunked\n\n0\n\n" + evil, "405", ""},
		{"both, in disguise", "PUSH\nContent-Length: 3\nTransfer-Encoding : chunked\n\none" + evil, "400", ""},
		{"both, folded", "PUSH\nContent-Length: 3\nTransfer-Encoding:\n chunked\n\n3\none\n0\n\n" + last, "204 200", "one"},
		{"an encoding that is none", "PUSH\nContent-Length: 3\nTransfer-Encoding: xchunked\n\none" + evil, "501", ""},
		{"two encodings", "PUSH\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\n3\none\n0\n\n" + evil, "501", ""},
		{"a list of encodings", "PUSH\nTransfer-Encoding: gzip, chunked\n\n3\none\n0\n\n" + evil, "501", ""},
		{"chunked, HTTP/1.0", "POST /ws/@connections/ID HTTP/1.0\nContent-Length: 3\nTransfer-Encoding: chunked\n\none" + evil, "204", "one"},
		{"two lengths", "PUSH\nContent-Length: 3\nContent-Length: 999\n\none" + evil, "400", ""},
		{"twice the same length", "PUSH\nContent-Length: 3\nContent-Length: 3\n\none" + last, "204 200", "one"},
		{"a list of lengths", "PUSH\nContent-Length: 3, 3\n\none" + evil, "400", ""},
		{"a length with a sign", "PUSH\nContent-Length: +3\n\none" + evil, "400", ""},
		{"a length below nothing", "PUSH\nContent-Length: -3\n\none" + evil, "400", ""},
		{"a length in hexadecimal", "PUSH\nContent-Length: 0x3\n\none" + evil, "400", ""},
		{"a length with a gap", "PUSH\nContent-Length: 3 3\n\none" + evil, "400", ""},
		{"an empty length", "PUSH\nContent-Length:\n\none" + evil, "400", ""},
		{"a length without end", "PUSH\nContent-Length: " + strings.Repeat("9", 30) + "\n\none" + evil, "400", ""},
		{"a length with zeros", "PUSH\nContent-Length: 0003\n\none" + last, "204 200", "one"},
		{"a length in disguise", "PUSH\nContent-Length : 3\n\none" + evil, "400", ""},
		{"a length, folded", "PUSH\nContent-Length:\n 3\n\none" + last, "204 200", "one"},
		{"a header that begins folded", "PUSH\n Content-Length: 3\n\none" + evil, "400", ""},
		{"no length", "PUSH\n\n" + last, "204 200", ""},
		{"no length, and a body", "PUSH\n\nevil" + evil, "204 405", ""},
		{"a line without a name", "PUSH\n: x\nContent-Length: 3\n\none" + evil, "400", ""},
		{"a carriage return of its own", "PUSH\nX: y\rContent-Length: 3\n\n" + last, "400", ""},
		{"a chunk's size with a sign", "PUSH\nTransfer-Encoding: chunked\n\n+3\none\n0\n\n" + evil, "400", ""},
		{"a chunk's size with a prefix", "PUSH\nTransfer-Encoding: chunked\n\n0x3\none\n0\n\n" + evil, "400", ""},
		{"a chunk's size that is too long", "PUSH\nTransfer-Encoding: chunked\n\n00000000000000003\none\n0\n\n" + evil, "400", ""},
		{"a chunk's size below nothing", "PUSH\nTransfer-Encoding: chunked\n\n-1\none\n0\n\n" + evil, "400", ""},
		{"no chunk's size", "PUSH\nTransfer-Encoding: chunked\n\n\none\n0\n\n" + evil, "400", ""},
		{"a chunk that is longer than it says", "PUSH\nTransfer-Encoding: chunked\n\n2\none\n0\n\n" + evil, "400", ""},
		{"a chunk that is shorter than it says", "PUSH\nTransfer-Encoding: chunked\n\n4\none\n0\n\n" + evil, "400", ""},
		{"a chunk's extension", "PUSH\nTransfer-Encoding: chunked\n\n3;x=y\none\n0\n\n" + last, "204 200", "one"},
		{"lines that end with LF", "PUSH<LF>Content-Length: 3<LF><LF>one" + last, "204 200", "one"},
		{"some lines that end with LF", "PUSH\nX: y<LF>Content-Length: 3\n\none" + last, "204 200", "one"},
		{"a header that ends with LF", "PUSH\nContent-Length: 3\n<LF>one" + last, "204 200", "one"},
		{"a chunk that ends with LF", "PUSH\nTransfer-Encoding: chunked\n\n3\none<LF>0\n\n" + evil, "400", ""},
		{"a chunk's size that ends with LF", "PUSH\nTransfer-Encoding: chunked\n\n3<LF>one\n0\n\n" + evil, "400", ""},
		{"two hosts", "PUSH\nHost: y\nContent-Length: 3\n\none" + evil, "400", ""},
		{"a request in a body", "PUSH\nContent-Length: 3\nX: \n\none" + last, "204 200", "one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for entrance := range entrances {
				synctest.Test(t, func(t *testing.T) {
					p := newPlace(t, entrance, wspush.WorkerOptions{})
					request := p.request(tc.request)
					for _, pieces := range [][]string{{request}, strings.Split(request, "")} {
						before := len(p.messages())
						if got := p.converse(t, pieces...); got != tc.want {
							t.Errorf("%s: %s: answered %q, want %q", tc.name, entrance, got, tc.want)
						}
						if got := strings.Join(p.messages()[before:], " "); got != tc.messages {
							t.Errorf("%s: %s: the client gets %q, want %q", tc.name, entrance, got, tc.messages)
						}
					}
				})
			}
		})
	}
}

// TestExpect: a publisher that waits before it sends its body is told to go on only if the worker wants the body.
func TestExpect(t *testing.T) {
	const last = "Expect: 100-continue\nConnection: close\n"
	for _, tc := range []struct{ name, head, want string }{
		{"pushed", "PUSH\nContent-Length: 4\n" + last, "100 204"},
		{"chunked", "PUSH\nTransfer-Encoding: chunked\n" + last, "100 204"},
		{"nothing", "PUSH\nContent-Length: 0\n" + last, "204"},
		{"gone", "POST /ws/@connections/" + unknownID + " HTTP/1.1\nHost: x\nContent-Length: 4\n" + last, "410"},
		{"gone, chunked", "POST /ws/@connections/" + unknownID + " HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n" + last, "410"},
		{"too large", "PUSH\nContent-Length: 101\n" + last, "413"},
		{"no ID", "POST /ws HTTP/1.1\nHost: x\nContent-Length: 4\n" + last, "401"},
		{"foreign", "PUSH\nOrigin: http://evil.test\nContent-Length: 4\n" + last, "403"},
		{"another method", "PUT /ws HTTP/1.1\nHost: x\nContent-Length: 4\n" + last, "405"},
	} {
		for entrance := range entrances {
			t.Run(tc.name+" "+entrance, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := newPlace(t, entrance, wspush.WorkerOptions{MaxPushBytes: 100})
					conn, _ := p.dial(t)
					c := p.secure(conn)
					go io.WriteString(c, p.request(tc.head+"\n"))
					in := bufio.NewReader(c)
					resp, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					got := fmt.Sprint(resp.StatusCode)
					io.Copy(io.Discard, resp.Body)
					if resp.StatusCode == 100 {
						body := "fine"
						if strings.Contains(tc.head, "chunked") {
							body = "4\r\nfine\r\n0\r\n\r\n"
						}
						go io.WriteString(c, body)
						got += " " + statuses(in)
					} else if rest := statuses(in); rest != "" {
						got += " " + rest
					}
					if got != tc.want {
						t.Errorf("answered %q, want %q", got, tc.want)
					}
				})
			})
		}
	}
}

// TestMaxPushBytesAll: bodies that never end keep others out for some seconds at most, and small ones not at all. Those that have to
// give way are told so.
func TestMaxPushBytesAll(t *testing.T) {
	for entrance := range entrances {
		t.Run(entrance, func(t *testing.T) {
			testutil.NoLeak(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t, entrance, wspush.WorkerOptions{MaxPushBytesAll: 300_000})
				answers := make(chan string, 20)
				for range 15 {
					conn, _ := p.dial(t)
					c := p.secure(conn)
					go func() {
						go io.WriteString(c, p.request("PUSH\nContent-Length: 100000\n\n"+strings.Repeat("x", 90_000)))
						resp, err := http.ReadResponse(bufio.NewReader(c), nil)
						if err != nil {
							answers <- err.Error()
							return
						}
						var problem struct{ Type string }
						_ = json.NewDecoder(resp.Body).Decode(&problem)
						answers <- fmt.Sprint(resp.StatusCode, " ", problem.Type)
					}()
				}
				synctest.Wait()
				p.push(t, "a small one takes no time")
				conn, _ := p.dial(t)
				c := p.secure(conn)
				defer c.Close()
				go io.WriteString(c, p.request("PUSH\nContent-Length: 100000\n\n"+strings.Repeat("y", 100_000)))
				began := time.Now()
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || resp.StatusCode != 204 && resp.StatusCode != 503 || time.Since(began) > 6*time.Second {
					t.Errorf("%+v, %v, after %v", resp, err, time.Since(began))
				}
				got := map[string]int{}
				for range 15 {
					got[<-answers]++
				}
				if took := time.Since(began); took > 40*time.Second || got["503 urn:wspush:full"] < 10 || len(got) > 2 || got["503 urn:wspush:full"]+got["408 urn:wspush:timeout"] != 15 {
					t.Errorf("answered %v, after %v", got, took)
				}
				// And then all of it is free again.
				for range 5 {
					conn, _ := p.dial(t)
					c := p.secure(conn)
					go io.WriteString(c, p.request("PUSH\nContent-Length: 200000\n\n"+strings.Repeat("z", 200_000)))
					began := time.Now()
					if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 204 || time.Since(began) > 0 {
						t.Errorf("afterwards: %v, %v", resp, err)
					}
					c.Close()
				}
			})
		})
	}
}
