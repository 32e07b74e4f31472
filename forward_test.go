package wspush_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/stats"
)

// What another worker answers is given back word for word: status, headers and body.
func TestForwardedWordForWord(t *testing.T) {
	holder := newMember(t, wspush.WorkerOptions{MaxPushBytes: 100_000, MaxPending: 1000})
	other := newMember(t, wspush.WorkerOptions{})
	server := serve(t, holder, nil)
	client, conn, _ := dial(t, holder, server, testutil.Options{Header: http.Header{"User-Agent": {"test"}}})
	_, ended, _ := dial(t, holder, server, testutil.Options{})
	sealed, endedID := conn.SealedID(), ended.SealedID()
	ended.Close(1000, "")
	testutil.Eventually(t, "the connection to end", func() bool { return holder.Len() == 1 })
	var received sync.WaitGroup
	received.Go(func() {
		for {
			if _, _, err := client.Message(); err != nil {
				return
			}
		}
	})
	binary := bytes.Repeat([]byte{0xff}, 60_000)
	amazon := http.Header{"Content-Type": {"application/octet-stream"}, "Authorization": {"AWS4-HMAC-SHA256 Credential=x"}}
	for _, tt := range []struct {
		method, path, name, query string
		header                    http.Header
		body                      []byte
		status                    int
	}{
		{"POST", "/ws", sealed, "", nil, []byte("text"), 204},
		{"POST", "/ws", sealed, "", nil, nil, 204},
		{"POST", "/ws", sealed, "?type=binary", nil, binary, 204},
		{"POST", "/ws", sealed, "", http.Header{"Content-Type": {"image/png"}}, binary, 204},
		{"POST", "/ws", sealed, "", amazon, []byte("text"), 204},
		{"POST", "/ws", sealed, "", amazon, binary, 204},
		{"POST", "/ws", sealed, "?confirm=received", nil, []byte("text"), 204},
		{"POST", "/ws", sealed, "", nil, binary, 400},
		{"POST", "/ws", sealed, "?type=image", nil, []byte("text"), 400},
		{"POST", "/ws", sealed, "?timeout=never", nil, []byte("text"), 400},
		{"POST", "/ws", sealed, "", nil, bytes.Repeat([]byte("x"), 100_001), 413},
		{"POST", "/ws", sealed, "", http.Header{"Content-Encoding": {"identity"}}, []byte("text"), 204},
		{"POST", "/ws", sealed, "", http.Header{"Content-Encoding": {"gzip"}}, []byte("text"), 415},
		{"POST", "/ws", sealed, "", http.Header{"Content-Encoding": {"gzip"}}, bytes.Repeat([]byte("x"), 100_001), 415},
		{"POST", "/ws", sealed, "", http.Header{"Content-Type": {"text/plain; charset=utf-16"}}, []byte("text"), 415},
		{"POST", "/ws", sealed, "", http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, []byte("text"), 415},
		{"POST", "/ws", sealed, "?type=x", http.Header{"Content-Encoding": {"gzip"}}, []byte("text"), 400},
		{"POST", "/ws", endedID, "", http.Header{"Content-Encoding": {"gzip"}}, []byte("text"), 410},
		{"POST", "/elsewhere", sealed, "", http.Header{"Content-Encoding": {"gzip"}}, []byte("text"), 404},
		{"POST", "/elsewhere", sealed, "", nil, []byte("text"), 404},
		{"POST", "/ws", endedID, "", nil, []byte("text"), 410},
		{"GET", "/ws", sealed, "", nil, nil, 200},
		{"HEAD", "/ws", sealed, "", nil, nil, 200},
		{"HEAD", "/ws", endedID, "", nil, nil, 410},
		{"GET", "/ws", endedID, "", nil, nil, 410},
		{"DELETE", "/ws", sealed, "?code=1005", nil, nil, 400},
		{"DELETE", "/ws", endedID, "", nil, nil, 410},
	} {
		t.Run(fmt.Sprint(tt.method, tt.path, tt.query, len(tt.body), " ", tt.status), func(t *testing.T) {
			exchange := func(w *wspush.Worker) (*http.Response, string) {
				req := newRequest(t, tt.method, "http://"+w.Addr().String()+tt.path+"/@connections/"+tt.name+tt.query, bytes.NewReader(tt.body))
				for name, values := range tt.header {
					req.Header[name] = values
				}
				resp := do(t, req)
				body := text(t, resp)
				for _, varies := range []string{"Date", "Wspush-Rtt", "Connection"} {
					resp.Header.Del(varies)
				}
				body, _, _ = strings.Cut(body, `"lastActiveAt"`)
				if body != "" {
					resp.Header.Del("Content-Length")
				}
				return resp, body
			}
			direct, want := exchange(holder)
			forwarded, got := exchange(other)
			if direct.StatusCode != tt.status || forwarded.StatusCode != tt.status || got != want ||
				fmt.Sprint(direct.Header) != fmt.Sprint(forwarded.Header) {
				t.Errorf("direct:    %s %v %s\nforwarded: %s %v %s", direct.Status, direct.Header, want, forwarded.Status, forwarded.Header, got)
			}
		})
	}
	if resp := post(t, sealedURL(other, conn)+"?confirm=received", "text/plain", []byte("read")); resp.Header.Get("Wspush-Rtt") == "" {
		t.Error("the round trip is missing")
	}
	if resp := post(t, "http://"+sealed+"@"+other.Addr().String()+"/ws", "", []byte("userinfo")); resp.StatusCode != 204 {
		t.Errorf("userinfo: %s", resp.Status)
	}
	chunked := newRequest(t, "POST", sealedURL(other, conn), io.MultiReader(strings.NewReader(big[:60_000]), strings.NewReader("end")))
	if resp := do(t, chunked); resp.StatusCode != 204 {
		t.Errorf("chunked: %s", resp.Status)
	}
	if resp := do(t, newRequest(t, "DELETE", sealedURL(other, conn)+"?code=3000&reason=enough", nil)); resp.StatusCode != 204 {
		t.Errorf("DELETE: %s", resp.Status)
	}
	received.Wait()
	if cause := context.Cause(conn.Context()); !strings.Contains(cause.Error(), `(3000) "enough"`) {
		t.Error(cause)
	}
}

// AuthorizePush is asked by the first worker alone; who comes to the second without a proof is asked there.
func TestForwardedAuthorization(t *testing.T) {
	var asked [2]atomic.Int64
	authorize := func(i int) func(*http.Request) error {
		return func(r *http.Request) error {
			asked[i].Add(1)
			return wspush.BearerTokens("secret")(r)
		}
	}
	holder := newMember(t, wspush.WorkerOptions{AuthorizePush: authorize(0)})
	other := newMember(t, wspush.WorkerOptions{AuthorizePush: authorize(1)})
	conn, client := connectTo(t, holder)
	push := func(w *wspush.Worker, header ...string) *http.Response {
		req := newRequest(t, "POST", sealedURL(w, conn), strings.NewReader("a"))
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return do(t, req)
	}
	if resp := push(other, "Authorization", "Bearer secret"); resp.StatusCode != 204 {
		t.Error(resp.Status)
	}
	client.Expect(testutil.Text, "a")
	if a, b := asked[0].Load(), asked[1].Load(); a != 0 || b != 1 {
		t.Errorf("asked %d and %d times", a, b)
	}
	for _, w := range []*wspush.Worker{holder, other} {
		if resp := push(w); resp.StatusCode != 401 {
			t.Errorf("without authorization: %s", resp.Status)
		}
		for _, proof := range []string{"", "1 AAAA", strings.Repeat("A", 43)} {
			req := newRequest(t, "GET", "http://"+w.Addr().String()+"/@link/AAAAAAAAAAAAAAAAAAAAAA", nil)
			for name, value := range map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
				"Sec-WebSocket-Protocol": "wspush-link.1", "Wspush-Link": proof, "Authorization": "Bearer secret",
			} {
				req.Header.Set(name, value)
			}
			if resp := do(t, req); resp.StatusCode != 403 {
				t.Errorf("an opening with a forged proof: %s", resp.Status)
			}
		}
	}
	if _, err := other.Push(context.Background(), conn.SealedID(), wspush.Text, []byte("in-process")); err != nil {
		t.Error(err)
	}
	client.Expect(testutil.Text, "in-process")
}

// A worker that cannot be reached is 502, with nothing written; when it has been started again, 410.
func TestWorkerGone(t *testing.T) {
	first, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, first)
	if resp := post(t, sealedURL(other, conn), "", []byte("a")); resp.StatusCode != 204 {
		t.Fatal(resp.Status)
	}
	client.Expect(testutil.Text, "a")
	closed := make(chan struct{})
	go func() { client.AwaitClose(); close(closed) }()
	shutDown(t, first)
	<-closed
	resp := post(t, sealedURL(other, conn), "", []byte("b"))
	if body := text(t, resp); resp.StatusCode != 502 || !strings.Contains(body, "urn:wspush:unreachable") || strings.Contains(body, first.Addr().String()) {
		t.Errorf("%s %s", resp.Status, body)
	}
	if _, err := other.Push(context.Background(), conn.SealedID(), wspush.Text, nil); !errors.Is(err, wspush.ErrUnreachable) {
		t.Error(err)
	}
	// What the other worker has answered is counted there, and what it has not, nowhere as a push.
	if s := other.Stats(); s.Forwarded != 3 || s.Written+s.Unknown+s.Refused != 0 || s.ForwardsFailed != (stats.Forwards{Unreachable: 2}) {
		t.Errorf("%+v", s)
	}
	if _, err := first.Push(context.Background(), conn.SealedID(), wspush.Text, nil); !errors.Is(err, wspush.ErrShutdown) {
		t.Error(err)
	}
	again := newMember(t, wspush.WorkerOptions{Listen: first.Addr().String()})
	testutil.Eventually(t, "the worker to be asked again", func() bool { // for a second after it could not be reached, it is not
		return post(t, sealedURL(other, conn), "", nil).StatusCode == 410
	})
	for _, w := range []*wspush.Worker{other, again} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			if resp := do(t, newRequest(t, method, sealedURL(w, conn), nil)); resp.StatusCode != 410 {
				t.Errorf("%s after a restart: %s", method, resp.Status)
			}
		}
		if _, err := w.Push(context.Background(), conn.SealedID(), wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
			t.Error(err)
		}
	}
}

// Something that is no worker of the Cluster listens where one should: 502, and it gets nothing to see of the message.
func TestForwardedToStranger(t *testing.T) {
	other := newMember(t, wspush.WorkerOptions{})
	for _, status := range []int{101, 200, 204, 302, 404, 408, 410, 426, 500, 504} {
		stranger := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); len(body) > 0 || !strings.HasPrefix(r.URL.Path, "/@link/") {
				t.Errorf("a stranger got %s %s %q", r.Method, r.URL.Path, body)
			}
			w.Header().Set("Location", "/elsewhere")
			w.Header().Set("Wspush-Link", "1 AAAA")
			if status != 101 {
				w.WriteHeader(status)
				return
			}
			if ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"wspush-link.1"}}); err == nil {
				_, data, err := ws.Read(r.Context())
				if err == nil {
					t.Errorf("a stranger got %q", data)
				}
			}
		}))
		conn, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: stranger}}))
		resp := post(t, sealedURL(other, conn), "", []byte("a"))
		if body := text(t, resp); resp.StatusCode != 502 || !strings.Contains(body, "urn:wspush:unreachable") || strings.Contains(body, stranger) {
			t.Errorf("it answers %d: %s %s", status, resp.Status, body)
		}
		if _, err := other.Push(context.Background(), conn.SealedID(), wspush.Text, []byte("a")); !errors.Is(err, wspush.ErrUnreachable) {
			t.Errorf("it answers %d: %v", status, err)
		}
	}
}

// A link that is lost after a question was sent leaves the outcome unknown, whether the other worker got it or not; and the next
// question goes by another link.
func TestForwardedUnanswered(t *testing.T) {
	for _, after := range []bool{false, true} {
		holder, other := behindCutter(t, after), newMember(t, wspush.WorkerOptions{})
		conn, client := connectTo(t, holder)
		read := reading(client)
		resp := post(t, sealedURL(other, conn), "", []byte("by HTTP"))
		if body := text(t, resp); resp.StatusCode != 504 || !strings.Contains(body, "urn:wspush:unknown") || strings.Contains(body, `"connection"`) {
			t.Errorf("%s %s", resp.Status, body)
		}
		if _, err := other.Push(context.Background(), conn.SealedID(), wspush.Text, []byte("in-process")); !errors.Is(err, wspush.ErrUnknown) {
			t.Error(err)
		}
		b := openBulk(t, dialPush(t, other))
		b.send(textLine(conn.SealedID(), "in bulk"))
		if line := b.answer(); !strings.HasPrefix(line, `{"line":1,"status":504,`) {
			t.Error(line)
		}
		b.end()
		if s := other.Stats(); s.ForwardsFailed != (stats.Forwards{Lost: 3}) {
			t.Errorf("%+v", s.ForwardsFailed)
		}
		want := 0
		if after {
			want = 3
			testutil.Eventually(t, "the messages to be written", func() bool { return holder.Stats().Written == 3 })
		}
		conn.Close(1000, "")
		if got := read(); len(got) != want {
			t.Errorf("the client got %q", got)
		}
	}
}

// Workers that serve TLS, and ask for certificates, are forwarded to over it.
func TestForwardedTLS(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	client := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}
	opts := wspush.WorkerOptions{
		TLS:     &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAnyClientCert},
		Cluster: &wspush.Cluster{TLS: client},
	}
	holder, other := newMember(t, opts), newMember(t, opts)
	conn, reader := connectTo(t, holder)
	for _, http2 := range []bool{false, true} {
		for _, size := range []int{100, 100_000} {
			address := "https://" + other.Addr().String() + "/ws/@connections/" + conn.SealedID()
			resp, err := postBy(t, keeping(t, client, http2), address, big[:size])
			if err != nil || resp.StatusCode != 204 {
				t.Fatal(resp, err)
			}
			reader.Expect(testutil.Text, big[:size])
		}
	}
}

// A publisher that breaks off in its body has nothing pushed.
func TestForwardedBrokenBody(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	for _, body := range []string{
		"Content-Length: 100000\r\n\r\nhello", "Content-Length: 1000\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	} {
		push := dialPush(t, other)
		fmt.Fprintf(push, "POST /ws/@connections/%s HTTP/1.1\r\nHost: worker\r\n%s", conn.SealedID(), body)
		_ = push.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(push)
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
			t.Errorf("%.100q", answer)
		}
	}
	if _, err := conn.Push(context.Background(), wspush.Text, []byte("the only one")); err != nil {
		t.Error(err)
	}
	client.Expect(testutil.Text, "the only one")
	if s := holder.Stats(); s.Written != 1 {
		t.Errorf("%+v", s)
	}
}

// Many publishers through the wrong worker, while connections come and go: every answer is true.
func TestForwardedUnderLoad(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	server := serve(t, holder, nil)
	publishing := publisher(t)
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for j := range 10 {
				client := testutil.Dial(t, server, testutil.Options{})
				id, _, _ := strings.Cut(strings.TrimPrefix(client.Text(), "http://"), "@")
				conn, _ := holder.Conn(id)
				for k := range 10 {
					message := fmt.Sprint(i, j, k)
					if status, err := publish(publishing, sealedURL(other, conn), message); status != 204 || err != nil {
						t.Error(status, err)
						return
					}
					if _, data, err := client.Message(); string(data) != message {
						t.Errorf("%q in place of %q: %v", data, message, err)
					}
				}
				conn.Close(1000, "")
				if status, err := publish(publishing, sealedURL(other, conn), "late"); status != 410 || err != nil {
					t.Error(status, err)
				}
				client.Close()
			}
		})
	}
	running.Wait()
}

// countingListener counts the connections that it accepts.
type countingListener struct {
	net.Listener
	n atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

// Whatever goes to one other worker shares one link: single pushes of any size, bulk lines, in-process pushes, GET and DELETE.
func TestForwardedOverOneLink(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counting := &countingListener{Listener: l}
	holder, other := newMember(t, wspush.WorkerOptions{Listener: counting}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	for i := range 50 {
		message := big[:1000*i]
		if resp := post(t, sealedURL(other, conn), "", []byte(message)); resp.StatusCode != 204 {
			t.Fatal(resp.Status)
		}
		client.Expect(testutil.Text, message)
	}
	if _, err := other.Push(context.Background(), conn.SealedID(), wspush.Text, []byte("in-process")); err != nil {
		t.Error(err)
	}
	client.Expect(testutil.Text, "in-process")
	b := openBulk(t, dialPush(t, other))
	b.send(textLine(conn.SealedID(), "in bulk"))
	b.expect(text204(1))
	client.Expect(testutil.Text, "in bulk")
	b.end()
	if resp := do(t, newRequest(t, "GET", sealedURL(other, conn), nil)); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
	if err := other.Disconnect(context.Background(), conn.SealedID(), 1000, ""); err != nil {
		t.Error(err)
	}
	if n := counting.n.Load(); n != 1 {
		t.Errorf("all that took %d connections", n)
	}
}

// reading reads what comes to a client, until it ends. Wait returns the messages.
func reading(client *testutil.Client) (wait func() []string) {
	done := make(chan []string, 1)
	go func() {
		var all []string
		for {
			_, data, err := client.Message()
			if err != nil {
				done <- all
				return
			}
			all = append(all, string(data))
		}
	}()
	return func() []string { return <-done }
}

// A large message goes in pieces, between which small ones find room: both arrive whole, wherever they come from.
func TestForwardedLargeBesideSmall(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{MaxPending: 16 << 20}), newMember(t, wspush.WorkerOptions{})
	large, largeClient := connectTo(t, holder)
	small, smallClient := connectTo(t, holder)
	gotLarge, gotSmall := reading(largeClient), reading(smallClient)
	publishing := publisher(t)
	var running sync.WaitGroup
	for i := range 4 {
		running.Go(func() {
			for j := range 8 {
				message := strings.Repeat(string(rune('a'+i)), 1<<20-j)
				if status, err := publish(publishing, sealedURL(other, large), message); status != 204 || err != nil {
					t.Error(status, err)
				}
			}
		})
		running.Go(func() {
			for j := range 200 {
				if _, err := other.Push(context.Background(), small.SealedID(), wspush.Text, []byte(fmt.Sprint(i, " ", j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	large.Close(1000, "")
	small.Close(1000, "")
	for _, message := range gotLarge() {
		if want := strings.Repeat(message[:1], len(message)); message != want || len(message) < 1<<20-7 {
			t.Errorf("a message of %d bytes is not what was sent", len(message))
		}
	}
	next := [4]int{}
	for _, message := range gotSmall() {
		var i, j int
		if _, err := fmt.Sscan(message, &i, &j); err != nil || j != next[i] {
			t.Errorf("%q in place of %d of %d", message, next[i], i)
		}
		next[i]++
	}
	if next != [4]int{200, 200, 200, 200} {
		t.Errorf("small messages: %v", next)
	}
}

// Clients that do not read take no more than the places of their own worker: 503, with nothing written, which comes to an end when
// they read, and does not concern pushes to other workers.
func TestForwardsFull(t *testing.T) {
	holder := newMember(t, wspush.WorkerOptions{MaxPending: -1, WriteTimeout: -1, PushTimeout: -1})
	third, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{PushTimeout: -1})
	slow, slowClient := connectTo(t, holder)
	conn, client := connectTo(t, holder)
	elsewhere, elsewhereClient := connectTo(t, third)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fill(t, slow)
	var running sync.WaitGroup
	outcomes := make(chan error, 1100)
	for range 1100 {
		running.Go(func() { outcomes <- outcome(other.Push(ctx, slow.SealedID(), wspush.Text, []byte("waits"))) })
	}
	for range 1100 - 1024 {
		if err := <-outcomes; !errors.Is(err, wspush.ErrBusy) {
			t.Fatal(err)
		}
	}
	resp := post(t, sealedURL(other, conn), "", []byte("a"))
	if body := text(t, resp); resp.StatusCode != 503 || !strings.Contains(body, "urn:wspush:full") || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%s %s", resp.Status, body)
	}
	if resp := post(t, sealedURL(other, elsewhere), "", []byte("third")); resp.StatusCode != 204 {
		t.Errorf("a push to another worker: %s", resp.Status)
	}
	elsewhereClient.Expect(testutil.Text, "third")
	if s := other.Stats(); s.ForwardsFailed.Full != 1100-1024+1 {
		t.Errorf("%+v", s.ForwardsFailed)
	}
	cancel() // the callers leave, and what they pushed is withdrawn
	running.Wait()
	for range 1024 {
		if err := <-outcomes; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if resp := post(t, sealedURL(other, conn), "", []byte("b")); resp.StatusCode != 204 {
		t.Errorf("afterwards: %s", resp.Status)
	}
	client.Expect(testutil.Text, "b")
	read := reading(slowClient)
	slow.Close(1000, "")
	for _, message := range read() {
		if message == "waits" {
			t.Error("what was withdrawn has been written")
		}
	}
}

// fill pushes to a client that does not read until a message has to wait.
func fill(t *testing.T, c *wspush.Conn) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		_, err := c.Push(ctx, wspush.Text, []byte(big))
		cancel()
		if err != nil {
			return
		}
	}
}

// A publisher that leaves has what it pushed through another worker withdrawn, on the lane as over net/http, and is counted like
// one that leaves the right worker.
func TestForwardedPublisherLeaves(t *testing.T) {
	for name, opts := range map[string]wspush.WorkerOptions{
		"lane":     {PushTimeout: -1},
		"net/http": {PushTimeout: -1, AuthorizePush: func(*http.Request) error { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			holder := newMember(t, wspush.WorkerOptions{MaxPending: -1, WriteTimeout: -1, PushTimeout: -1})
			other := newMember(t, opts)
			slow, client := connectTo(t, holder)
			fill(t, slow)
			withdrawn := holder.Stats().RefusedBy.Withdrawn
			push := dialPush(t, other)
			fmt.Fprintf(push, "POST /ws/@connections/%s HTTP/1.1\r\nHost: w\r\nContent-Length: 5\r\n\r\nwaits", slow.SealedID())
			testutil.Eventually(t, "the push to be forwarded", func() bool { return other.Stats().Forwarded == 1 && slow.Info().Pending > 0 })
			push.Close()
			testutil.Eventually(t, "the push to be withdrawn", func() bool { return holder.Stats().RefusedBy.Withdrawn == withdrawn+1 })
			if s := other.Stats(); s.ForwardsFailed != (stats.Forwards{}) || s.Refused != 0 {
				t.Errorf("%+v", s)
			}
			read := reading(client)
			slow.Close(1000, "")
			if slices.Contains(read(), "waits") {
				t.Error("what was withdrawn has been written")
			}
		})
	}
}

// Bodies that do not come in take no place of pushes to other workers.
func TestForwardBesideStalledBodies(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{MaxPushConns: 1200})
	conn, client := connectTo(t, holder)
	for i := range 1100 {
		push := dialPush(t, other)
		length := []int{2, 100_000}[i%2]
		fmt.Fprintf(push, "POST /ws/@connections/%s HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\na", conn.SealedID(), length)
	}
	testutil.Eventually(t, "all publishers to be connected", func() bool { return other.Stats().PushConns == 1100 })
	if resp := post(t, sealedURL(other, conn), "", []byte("healthy")); resp.StatusCode != 204 {
		t.Errorf("%s %s", resp.Status, text(t, resp))
	}
	client.Expect(testutil.Text, "healthy")
	if s := other.Stats(); s.Forwarded != 1 {
		t.Errorf("%d pushes were forwarded", s.Forwarded)
	}
}

// Publishers do not keep other workers out, even if they have all places that there are, and are in the midst of pushes.
func TestForwardToWorkerFullOfPublishers(t *testing.T) {
	begun, authorize := newBegun()
	holder, other := newMember(t, wspush.WorkerOptions{MaxPushConns: 4, AuthorizePush: authorize}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	for range 4 {
		halfPush(t, holder, conn, begun)
	}
	if resp := post(t, conn.PathAddresses()[0], "", []byte("a publisher")); resp.StatusCode != 503 {
		t.Errorf("a fifth publisher: %s", resp.Status)
	}
	for _, message := range []string{"one", "two"} {
		if resp := post(t, sealedURL(other, conn), "", []byte(message)); resp.StatusCode != 204 {
			t.Errorf("%s %s", resp.Status, text(t, resp))
		}
		client.Expect(testutil.Text, message)
	}
}

// A query goes to the other worker as it came, even with a space in it, which HTTP/2 lets through.
func TestForwardedRawQuery(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	holder := newMember(t, wspush.WorkerOptions{})
	other := newMember(t, wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	conn, client := connectTo(t, holder)
	req := newRequest(t, "DELETE", "https://"+other.Addr().String()+"/ws/@connections/"+conn.SealedID(), nil)
	req.URL.RawQuery = "code=3000&reason=a b"
	resp, err := keeping(t, &tls.Config{RootCAs: pool}, true).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 204 {
		t.Fatalf("%s over %s", resp.Status, resp.Proto)
	}
	if code, reason := client.AwaitClose(); code != 3000 || reason != "a b" {
		t.Errorf("closed with %d %q", code, reason)
	}
}

// Bodies that come in over links count like those of publishers: one for which there is no room is refused at once, and the next one
// is not.
func TestForwardMaxPushBytesAll(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{MaxPushBytesAll: 200_000}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	stalled := dialPush(t, holder)
	fmt.Fprintf(stalled, "POST /ws/@connections/%s HTTP/1.1\r\nHost: w\r\nContent-Length: 130000\r\n\r\n%s", conn.ID(), strings.Repeat("s", 120_000))
	body := strings.Repeat("x", 100_000)
	testutil.Eventually(t, "the other body to be held", func() bool {
		resp := post(t, sealedURL(other, conn), "", []byte(body))
		if resp.StatusCode == 503 {
			full(t, resp)
			return true
		}
		client.Expect(testutil.Text, body)
		return false
	})
	if resp := post(t, sealedURL(other, conn), "", []byte("small")); resp.StatusCode != 204 {
		t.Errorf("a small one: %s", resp.Status)
	}
	client.Expect(testutil.Text, "small")
	stalled.Close()
	testutil.Eventually(t, "room", func() bool { return post(t, sealedURL(other, conn), "", []byte(body)).StatusCode == 204 })
	client.Expect(testutil.Text, body)
}

// The worker that is asked counts a body until it has the answer.
func TestForwardMaxPushBytesAllAsked(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{MaxPushBytesAll: 200_000})
	conn, client := connectTo(t, holder)
	body := strings.Repeat("x", 100_000)
	for range 5 {
		if resp := post(t, sealedURL(other, conn), "", []byte(body)); resp.StatusCode != 204 {
			t.Fatal(resp.Status)
		}
		client.Expect(testutil.Text, body)
	}
}
