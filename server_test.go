package wspush_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// keeping makes an HTTP client that keeps its connections until the test ends.
func keeping(t *testing.T, config *tls.Config, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// postBy is post by this client.
func postBy(t *testing.T, client *http.Client, address, body string) (*http.Response, error) {
	t.Helper()
	resp, err := client.Do(newRequest(t, "POST", address, strings.NewReader(body)))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

// TestTLSProtocols: the addresses in the greeting say https, and work, with HTTP/1.1 and HTTP/2.
func TestTLSProtocols(t *testing.T) {
	testutil.NoLeak(t)
	certificate, pool := testutil.NewCertificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	w := newWorker(t, &wspush.WorkerOptions{TLS: config})
	if config.NextProtos != nil {
		t.Error("the application's TLS configuration has been changed")
	}
	c, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, a := range append(append(conn.PathAddresses(), conn.Addresses()...), address) {
		if !strings.HasPrefix(a, "https://") {
			t.Errorf("address %q", a)
		}
		for major, http2 := range map[int]bool{1: false, 2: true} {
			resp, err := postBy(t, keeping(t, &tls.Config{RootCAs: pool}, http2), a, a)
			if err != nil || resp.StatusCode != 204 || resp.ProtoMajor != major || resp.TLS == nil {
				t.Fatalf("HTTP/%d: %v, %v", major, resp, err)
			}
			c.Expect(testutil.Text, a)
		}
	}
	if resp, err := postBy(t, keeping(t, nil, false), conn.PathAddresses()[0], "x"); err == nil {
		t.Errorf("a publisher that does not trust the certificate gets %v", resp)
	}
	plain := strings.Replace(conn.PathAddresses()[0], "https", "http", 1)
	if resp, err := postBy(t, keeping(t, nil, false), plain, "x"); err != nil || resp.StatusCode != 400 {
		t.Errorf("without TLS: %v, %v", resp, err)
	}
	// Many at a time over one connection.
	many := keeping(t, &tls.Config{RootCAs: pool}, true)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "POST", conn.PathAddresses()[0], strings.NewReader(fmt.Sprint(i)))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := many.Do(req)
			if err != nil || resp.StatusCode != 204 {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	got := map[string]bool{}
	for range 100 {
		got[c.Text()] = true
	}
	if all.Wait(); len(got) != 100 {
		t.Errorf("%d of 100 messages", len(got))
	}
}

// TestClientCertificates: a publisher without the certificate that the worker asks for may not push. AuthorizePush sees the
// certificate.
func TestClientCertificates(t *testing.T) {
	testutil.NoLeak(t)
	certificate, pool := testutil.NewCertificate(t)
	alice, alices := testutil.NewCertificate(t)
	mallory, _ := testutil.NewCertificate(t)
	bob, _ := testutil.NewCertificate(t)
	alices.AddCert(bob.Leaf)
	w := newWorker(t, &wspush.WorkerOptions{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: alices,
		},
		AuthorizePush: func(r *http.Request) error {
			if r.TLS == nil || len(r.TLS.PeerCertificates) != 1 || len(r.TLS.VerifiedChains) != 1 {
				t.Errorf("AuthorizePush sees %+v", r.TLS)
				return wspush.ErrForbidden
			}
			if !r.TLS.PeerCertificates[0].Equal(alice.Leaf) {
				return wspush.ErrForbidden
			}
			return nil
		},
	})
	c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, http2 := range []bool{false, true} {
		for _, tc := range []struct {
			name         string
			certificates []tls.Certificate
			want         int // 0: none
		}{
			{"none", nil, 0},
			{"a stranger's", []tls.Certificate{mallory}, 0},
			{"one that is known", []tls.Certificate{bob}, 403},
			{"the right one", []tls.Certificate{alice}, 204},
		} {
			// It is sent whatever the server asks for.
			config := &tls.Config{RootCAs: pool, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(tc.certificates) == 0 {
					return new(tls.Certificate), nil
				}
				return &tc.certificates[0], nil
			}}
			resp, err := postBy(t, keeping(t, config, http2), conn.PathAddresses()[0], tc.name)
			if tc.want == 0 && err == nil || tc.want != 0 && (err != nil || resp.StatusCode != tc.want) {
				t.Errorf("HTTP/2 %v: %s: %v, %v", http2, tc.name, resp, err)
			}
		}
		c.Expect(testutil.Text, "the right one")
	}
}

// TestCertificateRenewal: a new certificate takes effect with the next connection. Open connections go on.
func TestCertificateRenewal(t *testing.T) {
	testutil.NoLeak(t)
	var current atomic.Pointer[tls.Certificate]
	pool := x509.NewCertPool()
	renew := func() *x509.Certificate {
		certificate, _ := testutil.NewCertificate(t)
		pool.AddCert(certificate.Leaf)
		current.Store(&certificate)
		return certificate.Leaf
	}
	w := newWorker(t, &wspush.WorkerOptions{TLS: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
	}})
	c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, http2 := range []bool{false, true} {
		first := renew()
		config := &tls.Config{RootCAs: pool}
		old := keeping(t, config, http2)
		push := func(client *http.Client, want *x509.Certificate) {
			t.Helper()
			resp, err := postBy(t, client, conn.PathAddresses()[0], "x")
			if err != nil || resp.StatusCode != 204 {
				t.Fatalf("%v, %v", resp, err)
			}
			if !resp.TLS.PeerCertificates[0].Equal(want) {
				t.Errorf("HTTP/2 %v: the wrong certificate", http2)
			}
			c.Expect(testutil.Text, "x")
		}
		push(old, first)
		second := renew()
		push(keeping(t, config, http2), second)
		push(old, first)
	}
}

// pipes is a listener whose connections are pipes, so that the push listener's own limits pass in fake time.
type pipes struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

// TestPublisherTimeouts: every publisher is answered or cut off in bounded time, whatever it does or omits.
func TestPublisherTimeouts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		request string // ID is the client's
		want    string // the statuses of the answers; "?" is any
		within  time.Duration
	}{
		{"says nothing", "", "", 15 * time.Second},
		{"half a header", "POST /ws HTTP/1.1\nHo", "?", 15 * time.Second},
		{"idle after an answer", "GET /ws/@connections/ID HTTP/1.1\nHost: x\n\n", "200 OK", 3 * time.Minute},
		{"no body", "POST /ws/@connections/ID HTTP/1.1\nHost: x\nContent-Length: 1\n\n", "408 Request Timeout", time.Minute},
		{"no body, and refused", "POST /ws/@connections/" + unknownID + " HTTP/1.1\nHost: x\nContent-Length: 1\n\n", "410 Gone", time.Minute},
		{"no body, and method refused", "PUT /ws/@connections/ID HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n", "405 Method Not Allowed", time.Minute},
		{"no body, though there is none", "GET /ws/@connections/ID HTTP/1.1\nHost: x\nContent-Length: 1\n\n", "200 OK", time.Minute},
		{"no body, and too large", "POST /ws/@connections/ID HTTP/1.1\nHost: x\nContent-Length: 101\n\n", "413 Request Entity Too Large", time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
				w := newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"http://push.test"}, MaxPushBytes: 100})
				c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, nil)), testutil.Options{Timeout: -1})
				conn, _ := greeted(t, w, c)

				publisher, server := net.Pipe()
				defer publisher.Close()
				l.conns <- server
				start := time.Now()
				if err := publisher.SetDeadline(start.Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				request := strings.ReplaceAll(strings.ReplaceAll(tc.request, "ID", conn.ID()), "\n", "\r\n")
				if _, err := io.WriteString(publisher, request); err != nil {
					t.Fatal(err)
				}
				var got []string
				r := bufio.NewReader(publisher)
				for {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						break
					}
					got = append(got, resp.Status)
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Fatal(err)
					}
				}
				if got := strings.Join(got, ", "); got != tc.want && tc.want != "?" {
					t.Errorf("answered %q, want %q", got, tc.want)
				}
				if took := time.Since(start); took > tc.within {
					t.Errorf("the connection lasted %v, more than %v", took, tc.within)
				}
			})
		})
	}
}

// TestSlowAuthorizePush: the time that AuthorizePush takes does not count against the publisher. Its body has 30 s from then on,
// and it gets its answer.
func TestSlowAuthorizePush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		w := newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"http://push.test"}, AuthorizePush: func(*http.Request) error {
			<-time.After(2 * time.Minute)
			return nil
		}})
		c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, nil)), testutil.Options{Timeout: -1})
		conn, _ := greeted(t, w, c)
		publisher, server := net.Pipe()
		defer publisher.Close()
		l.conns <- server
		go func() {
			io.WriteString(publisher, "POST /ws/@connections/"+conn.ID()+" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
			<-time.After(2*time.Minute + 25*time.Second)
			io.WriteString(publisher, "hello")
		}()
		go c.Message()
		resp, err := http.ReadResponse(bufio.NewReader(publisher), nil)
		if err != nil || resp.StatusCode != 204 {
			t.Errorf("%v, %v", resp, err)
		}
	})
}

// TestRefusedAtTheMount: a refusal there does not wait for a body either.
func TestRefusedAtTheMount(t *testing.T) {
	for head, want := range map[string]int{
		"POST /ws HTTP/1.1\r\nContent-Length: 10": 405,
		"GET /ws HTTP/1.1\r\nContent-Length: 10":  426,
	} {
		w := newWorker(t, nil)
		c, err := net.Dial("tcp", strings.TrimPrefix(serve(t, w, nil), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(3 * time.Second))
		io.WriteString(c, head+"\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != want || !resp.Close { // or the body would be the next request
			t.Errorf("%q is answered %+v, %v", head, resp, err)
		}
	}
}

// TestHeaderLimit: a publisher cannot use up memory with its header.
func TestHeaderLimit(t *testing.T) {
	w := newWorker(t, nil)
	req := newRequest(t, "POST", "http://"+w.Addr().String()+"/ws/@connections/"+unknownID, nil)
	req.Header.Set("X-Long", strings.Repeat("x", 100<<10))
	if resp := do(t, req); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s", resp.Status)
	}
}

// full checks the answer on a connection beyond the limit.
func full(t *testing.T, resp *http.Response) {
	t.Helper()
	var p struct{ Type, Title, Detail string }
	body := text(t, resp)
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Type != "urn:wspush:full" || p.Title == "" || p.Detail == "" {
		t.Errorf("the problem is %s", body)
	}
	h := resp.Header
	if resp.StatusCode != 503 || h.Get("Retry-After") != "1" || h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %s %v", resp.Status, resp.Header)
	}
}

// TestMaxPushConns: there are never more publishers than the limit, whatever they do. Clients do not notice.
func TestMaxPushConns(t *testing.T) {
	const get, push = "GET /ws/@connections/ID HTTP/1.1\nHost: x\n\n", "PUSH\nContent-Length: 4\n\nfine"
	for entrance := range entrances {
		t.Run(entrance, func(t *testing.T) {
			testutil.NoLeak(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t, entrance, wspush.WorkerOptions{MaxPushConns: 3})
				const half = "PUSH\nContent-Length: 4\n\nfi" // of a push: it does not make room for others
				for range 3 {                                // each time there is room again
					var publishers []io.ReadWriteCloser
					begin := func() {
						conn, _ := p.dial(t)
						c := p.secure(conn)
						publishers = append(publishers, c)
						go io.WriteString(c, p.request(half))
						synctest.Wait()
					}
					for range 3 {
						begin()
					}
					long := "PUSH\nContent-Length: 99999\n\n" + strings.Repeat("x", 9999)
					head := strings.Replace(get, "GET", "HEAD", 1)
					for _, request := range []string{push, get, head, long, "nonsense\n\n", ""} {
						refused(t, p, p.request(request))
					}
					c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, p.Worker, nil)), testutil.Options{Timeout: -1})
					conn, _ := greeted(t, p.Worker, c)
					start(t.Context(), conn, "hello")
					c.Expect(testutil.Text, "hello")
					c.Close()
					for i := range 3 { // one that has its answer makes room
						go io.WriteString(publishers[i], "ne")
						in := bufio.NewReader(publishers[i])
						if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 204 {
							t.Fatalf("publisher %d: %v, %v", i, resp, err)
						}
						synctest.Wait()
						p.push(t, "fine")
						synctest.Wait()
						if _, err := in.ReadByte(); err == nil {
							t.Errorf("publisher %d is still there", i)
						}
						begin()
						refused(t, p, p.request(push))
					}
					for _, publisher := range publishers {
						publisher.Close()
					}
					synctest.Wait()
				}
				if got := len(p.messages()); got != 18 {
					t.Errorf("%d messages", got)
				}
			})
		})
	}
}

// halfPush begins a push to the connection and waits until the worker has its header: it makes no room for others. The worker must have
// the AuthorizePush that newBegun returns.
func halfPush(t *testing.T, w *wspush.Worker, conn *wspush.Conn, begun <-chan struct{}) net.Conn {
	t.Helper()
	c := dialPush(t, w)
	fmt.Fprintf(c, "POST /ws/@connections/%s HTTP/1.1\r\nHost: x\r\nX-Half: 1\r\nContent-Length: 2\r\n\r\nx", conn.ID())
	<-begun
	return c
}

// newBegun makes the AuthorizePush for halfPush.
func newBegun() (begun chan struct{}, authorize func(*http.Request) error) {
	begun = make(chan struct{})
	return begun, func(r *http.Request) error {
		if r.Header.Get("X-Half") != "" {
			begun <- struct{}{}
		}
		return nil
	}
}

// refused is a publisher beyond the limit.
func refused(t *testing.T, p *place, request string) {
	t.Helper()
	conn, closed := p.dial(t)
	defer conn.Close()
	if request != "" { // a pipe would pass on even nothing
		go io.WriteString(conn, request)
	}
	in := bufio.NewReader(conn)
	method, _, _ := strings.Cut(request, " ")
	if p.tls != nil || request == "" {
		if b, err := in.ReadByte(); err != io.EOF {
			t.Errorf("answered %q, %v", b, err)
		}
	} else if resp, err := http.ReadResponse(in, &http.Request{Method: method}); err != nil {
		t.Errorf("%.20q is not answered: %v", request, err)
	} else {
		if method != "HEAD" {
			full(t, resp)
		} else if resp.StatusCode != 503 {
			t.Errorf("HEAD is answered %s", resp.Status)
		}
		if _, err := in.ReadByte(); !resp.Close || err != io.EOF {
			t.Errorf("it may go on: %v", err)
		}
	}
	if took := <-closed; took > 500*time.Millisecond {
		t.Errorf("it is kept for %v", took)
	}
}

// An HTTP/2 connection counts once, however many requests it has.
func TestMaxPushConnsHTTP2(t *testing.T) {
	testutil.NoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, "TLS", wspush.WorkerOptions{MaxPushConns: 2})
		p.tls.NextProtos = []string{"h2"}
		come := func() io.Closer {
			conn, _ := p.dial(t)
			c := tls.Client(conn, p.tls)
			// A push that does not end, so that the connection makes no room for others.
			begun := string(http2Frame(frameHeaders, endHeaders, 1,
				http2Fields(":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/ws/@connections/"+p.conn.ID())))
			go io.Copy(io.Discard, c)
			if _, err := io.WriteString(c, preface+string(http2Frame(frameSettings, 0, 0, nil))+begun); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return c
		}
		for range 5 {
			first, second := come(), come()
			refused(t, p, "")
			refused(t, p, "PRI")
			first.Close()
			second.Close()
			synctest.Wait()
		}
	})
}

// TestStorm: hundreds of connections beyond the limit, most of them silent, are closed at once, and leave nothing behind.
func TestStorm(t *testing.T) {
	for entrance := range entrances {
		t.Run(entrance, func(t *testing.T) {
			testutil.NoLeak(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t, entrance, wspush.WorkerOptions{MaxPushConns: 1})
				conn, _ := p.dial(t)
				defer conn.Close()
				c := p.secure(conn)
				in := bufio.NewReader(c)
				begin := func() {
					go io.WriteString(c, p.request("PUSH\nContent-Length: 4\n\ngo"))
					synctest.Wait()
				}
				end := func() {
					t.Helper()
					go io.WriteString(c, "od")
					if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 204 {
						t.Fatal(resp, err)
					}
				}
				begin()
				var storm sync.WaitGroup
				for i := range 500 {
					conn, closed := p.dial(t)
					storm.Go(func() {
						if i%5 == 0 {
							io.WriteString(conn, p.request("PUSH\nContent-Length: 99\n\n"))
						}
						if took := <-closed; took > 500*time.Millisecond {
							t.Errorf("one is kept for %v", took)
						}
					})
				}
				end()
				begin()
				storm.Wait()
				end()
				// Shutdown does not wait for them any longer either.
				for range 10 {
					p.dial(t)
				}
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				go io.Copy(io.Discard, in) // a pipe would hold up the goodbye of TLS
				began := time.Now()
				p.Shutdown(ended)
				if took := time.Since(began); took > 500*time.Millisecond {
					t.Errorf("Shutdown takes %v", took)
				}
			})
		})
	}
}

// TestTold: a publisher beyond the limit sees the answer, whatever it sends, and not just a reset connection.
func TestTold(t *testing.T) {
	testutil.NoLeak(t)
	begun, authorize := newBegun()
	w := newWorker(t, &wspush.WorkerOptions{MaxPushConns: 1, AuthorizePush: authorize})
	_, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	c := halfPush(t, w, conn, begun)
	for _, size := range []int{0, 1, 5000, 1 << 20} {
		for range 5 {
			full(t, post(t, "http://"+w.Addr().String()+"/ws/@connections/"+unknownID, "", make([]byte, size)))
		}
	}
	c.Close()
	testutil.Eventually(t, "room", func() bool {
		return post(t, "http://"+w.Addr().String()+"/ws/@connections/"+unknownID, "", nil).StatusCode == 410
	})
}

// TestHTTP2Streams: a connection of HTTP/2 has so many requests at a time and no more, holds little of what nobody has read, and all
// of them together have as many requests as there may be connections.
func TestHTTP2Streams(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	var open atomic.Int32
	w := newWorker(t, &wspush.WorkerOptions{
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, MaxPushConns: 2,
		AuthorizePush: func(*http.Request) error { open.Add(1); return nil },
	})
	_, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	c := dialHTTP2(t, w, pool)
	kind, _, _, payload := c.frame(t)
	settings := map[uint16]uint32{}
	for p := payload; kind == frameSettings && len(p) > 0; p = p[6:] {
		settings[binary.BigEndian.Uint16(p)] = binary.BigEndian.Uint32(p[2:])
	}
	if settings[3] != 100 || settings[4] != 64<<10 {
		t.Errorf("MAX_CONCURRENT_STREAMS and INITIAL_WINDOW_SIZE are %d and %d", settings[3], settings[4])
	}
	for i := range uint32(100) {
		c.conn.Write(http2Frame(frameHeaders, endHeaders, 2*i+1,
			http2Fields(":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/ws/@connections/"+conn.ID())))
	}
	second := keeping(t, &tls.Config{RootCAs: pool}, true)
	testutil.Eventually(t, "all streams to be open", func() bool { return open.Load() == 100 })
	resp, err := second.Do(newRequest(t, "GET", conn.PathAddresses()[0], nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	full(t, resp)
	// Also one that sends everything before it reads anything sees the answer.
	if got := dialHTTP2(t, w, pool).sendThenRead(t, "POST", "/ws/@connections/"+conn.ID(), "", 3<<20); got != 503 {
		t.Errorf("answered %d", got)
	}
	c.conn.Close()
	testutil.Eventually(t, "room", func() bool {
		resp, err := postBy(t, second, conn.PathAddresses()[0], "x")
		return err == nil && resp.StatusCode == 204
	})
}

// A hello that does not end is closed once it is longer than any handshake, whether or not certificates are asked for. A client with 16
// KiB of certificates gets through, also with the ticket that it is given.
func TestLongHandshakes(t *testing.T) {
	testutil.NoLeak(t)
	certificate, pool := testutil.NewCertificate(t)
	client, clients := testutil.NewCertificate(t)
	for len(client.Certificate)*len(client.Certificate[0]) < 16<<10 {
		another, _ := testutil.NewCertificate(t)
		client.Certificate = append(client.Certificate, another.Certificate[0])
	}
	for _, tc := range []struct {
		name string
		auth tls.ClientAuthType
		most int
	}{{"without certificates", tls.NoClientCert, 16 << 10}, {"with certificates", tls.RequireAndVerifyClientCert, 64 << 10}} {
		w := newWorker(t, &wspush.WorkerOptions{Logger: noLog, TLS: &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientAuth: tc.auth, ClientCAs: clients,
		}})
		push := dialPush(t, w)
		sent := 0
		record := append([]byte{22, 3, 1, 4, 0}, make([]byte, 1024)...)
		for first := true; sent < 200<<10; first = false {
			copy(record[5:], []byte{0, 0, 0, 0})
			if first {
				copy(record[5:], []byte{1, 0, 0xff, 0xff}) // as long as crypto/tls takes
			}
			n, err := push.Write(record)
			if sent += n; err != nil {
				break
			}
			if sent < tc.most-len(record) {
				continue
			}
			_ = push.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if _, err := push.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
		}
		if sent < tc.most || sent > tc.most+2*len(record) {
			t.Errorf("%s: closed after %d bytes", tc.name, sent)
		}
		c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, http2 := range []bool{false, true} {
				cache := tls.NewLRUClientSessionCache(1)
				for i := range 2 {
					config := &tls.Config{RootCAs: pool, ClientSessionCache: cache, MaxVersion: version, Certificates: []tls.Certificate{client}}
					resp, err := postBy(t, keeping(t, config, http2), conn.PathAddresses()[0], tc.name)
					if err != nil || resp.StatusCode != 204 {
						t.Fatalf("%s, HTTP/2 %v: %v, %v", tc.name, http2, resp, err)
					}
					if resumed := resp.TLS.DidResume; resumed != (i == 1) {
						t.Errorf("%s, HTTP/2 %v, connection %d: resumed is %v", tc.name, http2, i, resumed)
					}
					c.Expect(testutil.Text, tc.name)
				}
			}
		}
	}
}
