package wspush_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/testutil"
	pub "github.com/wspush/wspush/publisher"
)

// keptMost is what the documentation says that a client can make a connection keep of its handshake.
const keptMost = 3 << 10

// Whatever a client sends with its handshake, and as much of it as net/http lets through, its connection keeps as much as is documented.
func TestHandshakeKeeps(t *testing.T) {
	const size = 128 << 10
	large, all := strings.Repeat("x", size), strings.Repeat("x", 300<<10) // net/http's limit for a header is 1 MiB
	var many strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&many, "X-%d: %d\r\n", i, i)
	}
	pong, message := wire(frame(true, testutil.Pong, "")), wire(frame(true, testutil.Text, "x"))
	longest := "/" + strings.Repeat("%41", (address.MaxPath-1)/3)
	kinds := []struct {
		name, target, header string
		early                []byte
	}{
		{name: "a User-Agent", header: "User-Agent: " + large + "\r\n"},
		{name: "a User-Agent of several bytes a character", header: "User-Agent: " + strings.Repeat("é", size/2) + "\r\n"},
		{name: "a path", target: longest},
		{name: "a path with commas", target: "/" + strings.Repeat(",", (address.MaxPath-1)/3)},
		{name: "a query", target: "/ws?" + large},
		{name: "a cookie", header: "Cookie: a=" + large + "\r\n"},
		{name: "an origin", header: "Origin: http://h.test/" + large + "\r\n"},
		{name: "subprotocols", header: "Sec-WebSocket-Protocol: " + large + ", v1\r\n"},
		{name: "extensions", header: "Sec-WebSocket-Extensions: permessage-deflate, " + large + "\r\n"},
		{name: "many headers", header: many.String()},
		{name: "an address that a middleware believes", header: "X-Forwarded-For: " + large + "\r\n"},
		{name: "pongs right behind it", early: []byte(strings.Repeat(string(pong), 4000/len(pong)))},
		{name: "messages right behind it", early: []byte(strings.Repeat(string(message), 4000/len(message)))},
		{name: "all of it", target: longest + "?" + all, early: pong,
			header: "User-Agent: " + all + "\r\nX-Forwarded-For: " + all + "\r\n"},
	}
	w := newWorker(t, quiet())
	h := newHandler(t, w, &wspush.HandlerOptions{Subprotocols: []string{"v1"}, Compression: true})
	forwarded := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if by := r.Header.Get("X-Forwarded-For"); by != "" {
			r.RemoteAddr = by[1:] // a part of the header, as what cuts lists makes it
		}
		h.ServeHTTP(rw, r)
	})
	server := testutil.Serve(t, forwarded)
	// cost connects clients, and returns what one of them costs once it is silent.
	cost := func(target, header string, early []byte) int {
		const conns = 30
		request := "GET " + target + " HTTP/1.1\r\nHost: h.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: " + sampleKey + "\r\n" + header + "\r\n" + string(early)
		clients := make([]net.Conn, conns)
		before := heapInUse()
		for i := range clients {
			clients[i] = silentClient(t, server, request)
		}
		testutil.Eventually(t, "silence", func() bool {
			silent, busy := lives()
			return silent == conns && busy == 0
		})
		cost := (heapInUse() - before) / conns
		runtime.KeepAlive(request)
		for _, c := range clients {
			c.Close()
		}
		testutil.Eventually(t, "the connections to leave", func() bool { silent, busy := lives(); return silent+busy == 0 })
		return cost
	}
	testutil.Eventually(t, "earlier tests to leave", func() bool { silent, busy := lives(); return silent+busy == 0 })
	cost("/ws", "", nil) // whatever is made once
	plain := cost("/ws", "", nil)
	for _, tt := range kinds {
		if tt.target == "" {
			tt.target = "/ws"
		}
		got := cost(tt.target, tt.header, tt.early)
		t.Logf("%s: %d bytes, %d of them beyond those of a plain handshake", tt.name, got, got-plain)
		if got-plain > keptMost {
			t.Errorf("%s costs %d bytes for as long as its client is silent, beyond the %d of any", tt.name, got-plain, plain)
		}
	}
}

// heapInUse returns how many bytes of the heap are in use.
func heapInUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // empties pools
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// silentClient connects with a request, reads the greeting, and keeps nothing of it.
func silentClient(t *testing.T, server, request string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	if first, err := in.ReadByte(); err != nil || first != 0x81 { // the greeting
		t.Fatalf("%#x, %v", first, err)
	}
	return c
}

// A client that says much is looked at like any other, by whichever worker is asked.
func TestGetAfterLargeHandshake(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	server := testutil.Serve(t, newHandler(t, holder, nil))
	path := "/" + strings.Repeat("%41", (address.MaxPath-1)/3)
	c := testutil.Dial(t, server, testutil.Options{Path: path, Header: http.Header{"User-Agent": {strings.Repeat("<\xff", 450<<10)}}})
	c.Text()
	var conn *wspush.Conn
	for conn = range holder.Conns() {
	}
	p, err := pub.New(&pub.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, w := range []*wspush.Worker{holder, other} {
		at := sealedURL(w, conn)
		if resp := do(t, newRequest(t, "GET", at, nil)); resp.StatusCode != 200 {
			t.Errorf("GET: %s %s", resp.Status, text(t, resp))
		}
		info, err := p.Lookup(t.Context(), at)
		if err != nil || info.Path != path || !strings.HasSuffix(info.UserAgent, "…") {
			t.Errorf("Lookup: %+v, %v", info, err)
		}
		if _, err := p.Push(t.Context(), at, pub.Text, []byte("hello")); err != nil {
			t.Errorf("Push: %v", err)
		}
		c.Expect(testutil.Text, "hello")
		if resp := post(t, strings.Replace(at, path, "/"+strings.Repeat("A", len(path)/3), 1), "", []byte("less escaped")); resp.StatusCode != 204 {
			t.Errorf("POST: %s", resp.Status)
		}
		c.Expect(testutil.Text, "less escaped")
		if resp := post(t, strings.Replace(at, path, "/"+strings.Repeat("%41", 9<<10/3), 1), "", []byte("x")); resp.StatusCode != 404 {
			t.Errorf("a path of 9 KB: %s %s", resp.Status, text(t, resp))
		}
	}
}

// A client at a path that makes no address that fits anywhere is told so.
func TestLongPaths(t *testing.T) {
	w := newWorker(t, quiet())
	server := testutil.Serve(t, newHandler(t, w, nil))
	for target, want := range map[string]int{
		"/" + strings.Repeat("x", address.MaxPath-1):       101,
		"/" + strings.Repeat("x", address.MaxPath):         414,
		"/" + strings.Repeat("%41", address.MaxPath/3):     101,
		"/" + strings.Repeat("%41", address.MaxPath/3+1):   414,
		"/" + strings.Repeat(",", address.MaxPath/3):       101, // each takes three bytes in an address
		"/" + strings.Repeat(",", address.MaxPath/3+1):     414,
		"/" + strings.Repeat("ü", address.MaxPath/6+1):     414,
		"/" + strings.Repeat("x", 900<<10):                 414,
		"/ws?" + strings.Repeat("x", 900<<10):              101,
		"/" + strings.Repeat("%", 900<<10):                 400, // net/http's own
		"/" + strings.Repeat("%2e%2e/", address.MaxPath/7): 404,
	} {
		resp, _ := answerTo(t, server, handshakeWith("GET "+target+" HTTP/1.1", nil))
		if resp.StatusCode != want {
			t.Errorf("%.20s, %d bytes: %s, want %d", target, len(target), resp.Status, want)
		}
		if want == 414 {
			if body := text(t, resp); !strings.Contains(body, "at most 1024") || !strings.Contains(body, "path-too-long") {
				t.Errorf("the answer is %s", body)
			}
		}
	}
}

// What a client, or a publisher, has escaped costs once and not for each target of a line.
func TestBulkToEscapedPaths(t *testing.T) {
	w := newWorker(t, quiet())
	server := testutil.Serve(t, newHandler(t, w, nil))
	// allocations counts those of a line for many targets at mount, none of which is at path.
	allocations := func(path, mount string) float64 {
		c := testutil.Dial(t, server, testutil.Options{Path: path})
		c.Text()
		var conn *wspush.Conn
		for conn = range w.Conns() {
		}
		line := `{"text":"x","to":[` + strings.Repeat(`"`+conn.ID()+`",`, 1000) + `"` + conn.ID() + `"]}` + "\n"
		n := testing.AllocsPerRun(1, func() {
			req := newRequest(t, "POST", "http://"+w.Addr().String()+mount+"/@connections", strings.NewReader(line))
			req.Header.Set("Content-Type", "application/x-ndjson")
			if resp := do(t, req); resp.StatusCode != 200 {
				t.Errorf("%s", resp.Status)
			}
		})
		_ = conn.Close(1000, "")
		testutil.Eventually(t, "the client to leave", func() bool { return w.Len() == 0 })
		return n
	}
	plain := allocations("/ws", "/elsewhere")
	escaped := allocations("/"+strings.Repeat("%41", (address.MaxPath-1)/3), "/"+strings.Repeat("%42", 2<<10))
	if escaped > 1.2*plain+1000 {
		t.Errorf("a line of 1001 targets takes %v allocations where paths are escaped, %v where they are not", escaped, plain)
	}
}
