package wspush_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

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
