package wspush_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// seedRows lists what nginx-websocket-module does and gets wrong, in its own words or as observed, and for each the tests which
// prove that wspush keeps the former and has none of the latter. Where a test already exists elsewhere, this file does not repeat it.
var seedRows = []struct {
	row   string
	tests []string
}{
	// What it does.
	{"location /ws { websocket pingintvl=10000 idleintvl=15000; } (defaults 5 and 6 minutes)", []string{"TestIntervalDefaults", "TestTimersOnConn"}},
	{"every worker process listens on a port of its own, chosen by the system", []string{"TestTwoWorkersBehindOneFront", "TestListen"}},
	{"after the handshake one text message: http://12@172.16.71.231:48775/ws,http://12@172.16.71.211:48775/ws", []string{"TestGreeting"}},
	{"echo 123|http http://12@172.16.71.231:48775/ws pushes; 204", []string{"TestPushAPI"}},
	{"if there is no message sent or received after pingintvl, a PING; the PONG resets the timer; after idleintvl, the end", []string{"TestTimers", "TestTimersOnConn"}},
	{"the PING comes from the server", []string{"TestTimersOnConn"}},
	{"client messages are echoed", []string{"TestEarlyFrames"}},
	{"GET upgrades, POST pushes, OPTIONS 204, others 405", []string{"TestHandshakeRefused", "TestPushAPI"}},
	{"debug log", []string{"TestLog"}},
	{"to do: IPv6", []string{"TestListen", "TestGetIPv6"}},
	{"to do: push binary data", []string{"TestMessageType"}},
	{"to do: process upstream message", []string{"TestMessages"}},

	// What it gets wrong.
	{"ID is the file descriptor: after a client leaves, a push to its address reaches the next client", []string{"TestSeedIDReused"}},
	{"unknown ID, no ID, malformed ID: all 400", []string{"TestPushAPI"}},
	{"two workers have the same IDs; a push through the public port reaches a stranger", []string{"TestSeedStranger"}},
	{"body over about 1 KB cut, over 10 KB replaced by nothing, still 204; several chunks: only the first", []string{"TestBodySizes"}},
	{"an empty POST kills the worker", []string{"TestBodySizes"}},
	{"binary or invalid UTF-8 sent as text; the client drops the connection", []string{"TestMessageType", "TestPushAPI"}},
	{"a client that does not read: every push 204, memory grows without bound, then stalls", []string{"TestPushBusy", "TestWriteTimeout"}},
	{"a client that died: pushes 204 and vanish until the idle timeout", []string{"TestSeedClientDied", "TestTimersOnConn"}},
	{"the client's Close frame is not answered", []string{"TestCloseAnswered"}},
	{"the first frame, if it arrives with the handshake, is lost", []string{"TestEarlyFrames", "TestFramesWithHandshake"}},
	{"one ping only, never repeated", []string{"TestTimersOnConn"}},
	{"a GET without upgrade headers gets 101", []string{"TestHandshakes"}},
	{"the publisher hangs for ever if the client leaves in the middle of its push", []string{"TestSeedPublisherHangs"}},
	{"memory lost for every connection that closes; use after free; crashes under 20 concurrent connects", []string{"TestSeedLeaksAndCrashes"}},
}

// Every row of the table above has its tests, and every test below is in it.
func TestSeedRows(t *testing.T) {
	tests := make(map[string]string) // by name, the file
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				tests[f.Name.Name] = name
			}
		}
	}
	named := make(map[string]bool)
	for _, row := range seedRows {
		if len(row.tests) == 0 {
			t.Errorf("no test for %q", row.row)
		}
		for _, name := range row.tests {
			named[name] = true
			if tests[name] == "" {
				t.Errorf("there is no %s for %q", name, row.row)
			}
		}
	}
	for name := range tests {
		if strings.HasPrefix(name, "TestSeed") && name != "TestSeedRows" && !named[name] {
			t.Errorf("%s is in no row", name)
		}
	}
}

// status fails the test unless the answer has this status.
func status(t *testing.T, resp *http.Response, want int) {
	t.Helper()
	if resp.StatusCode != want {
		t.Errorf("%s %s: %s, want %d", resp.Request.Method, resp.Request.URL, resp.Status, want)
	}
}

// "ID is the file descriptor: after a client leaves, a push to its address reaches the next client"
func TestSeedIDReused(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	seen := map[string]bool{}
	first, _, old := dial(t, w, server, testutil.Options{})
	for range 20 {
		first.Close()
		testutil.Eventually(t, "the client to leave", func() bool { return w.Len() == 0 })
		next, _, address := dial(t, w, server, testutil.Options{})
		status(t, post(t, old, "", []byte("for the one who left")), 410)
		status(t, post(t, address, "", []byte("for the next")), 204)
		next.Expect(testutil.Text, "for the next")
		if seen[address] {
			t.Fatalf("address %s is used again", address)
		}
		seen[address] = true
		first, old = next, address
	}
}

// "two workers have the same IDs; a push through the public port reaches a stranger"
func TestSeedStranger(t *testing.T) {
	a, b := newWorker(t, nil), newWorker(t, nil)
	serverA, serverB := serve(t, a, nil), serve(t, b, nil)
	clientA, connA, addressA := dial(t, a, serverA, testutil.Options{})
	clientB, connB, _ := dial(t, b, serverB, testutil.Options{})
	if connA.ID() == connB.ID() {
		t.Fatal("two workers have the same ID")
	}
	toB := strings.Replace(addressA, a.Addr().String(), b.Addr().String(), 1)
	status(t, post(t, toB, "", []byte("for a stranger")), 410)
	for _, public := range []string{serverA, serverB} {
		status(t, post(t, strings.Replace(public, "://", "://"+connA.ID()+"@", 1)+"/ws", "", []byte("for a stranger")), 405)
		status(t, post(t, public+"/ws/@connections/"+connA.ID(), "", []byte("for a stranger")), 405)
	}
	status(t, post(t, addressA, "", []byte("for A")), 204)
	clientA.Expect(testutil.Text, "for A")
	if _, err := connB.Push(t.Context(), wspush.Text, []byte("for B")); err != nil {
		t.Fatal(err)
	}
	clientB.Expect(testutil.Text, "for B")
}

// "a client that died: pushes 204 and vanish until the idle timeout"
func TestSeedClientDied(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	for name, die := range map[string]func(net.Conn){
		"FIN": func(c net.Conn) { c.Close() },
		"RST": func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
	} {
		c, conn, address := dial(t, w, server, testutil.Options{})
		die(c.Conn())
		select {
		case <-conn.Context().Done():
		case <-time.After(2 * time.Second):
			t.Errorf("%s: the connection lives on", name)
		}
		status(t, post(t, address, "", []byte("x")), 410)
	}
}

// "the publisher hangs for ever if the client leaves in the middle of its push"
func TestSeedPublisherHangs(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxPending: 4 << 20})
	c, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})

	publish := func(body io.Reader) <-chan int {
		answered := make(chan int, 1)
		req := newRequest(t, "POST", address, body)
		go func() {
			defer close(answered)
			resp, err := try(req)
			if err != nil {
				t.Errorf("no answer: %v", err)
				return
			}
			answered <- resp.StatusCode
		}()
		return answered
	}
	// One is in the middle of its message, which the client does not read, and which exceeds the kernel's buffers.
	inMessage := publish(strings.NewReader(strings.Repeat("x", 1<<20)))
	if _, err := io.ReadFull(c.Conn(), make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	// The other is in the middle of its body.
	body, rest := io.Pipe()
	inBody := publish(body)
	if _, err := rest.Write([]byte("begun")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-conn.Context().Done()
	first := <-inMessage
	rest.Close()
	second := <-inBody
	// The kernel may have taken the whole message, in which case 204 is right.
	if first != 204 && first != 504 || second != 410 {
		t.Errorf("the publishers are answered with %d and %d", first, second)
	}
}

// "memory lost for every connection that closes; use after free; crashes under 20 concurrent connects"
func TestSeedLeaksAndCrashes(t *testing.T) {
	testutil.NoLeak(t)
	var (
		mu    sync.Mutex // guards conns
		conns []weak.Pointer[wspush.Conn]
	)
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{OnConnect: func(c *wspush.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, weak.Make(c))
	}})
	files := testutil.OpenFiles(t)
	for range 5 {
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				c, _, err := testutil.TryDial(t, server, testutil.Options{})
				if err != nil {
					t.Errorf("connecting: %v", err)
					return
				}
				defer c.Close()
				_, greeting, err := c.Message()
				if err != nil {
					t.Errorf("the greeting: %v", err)
					return
				}
				req, err := http.NewRequest("POST", string(greeting), strings.NewReader(string(greeting)))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := try(req)
				if err != nil || resp.StatusCode != 204 {
					t.Errorf("pushing: %v, %v", resp, err)
					return
				}
				if _, data, err := c.Message(); err != nil || string(data) != string(greeting) {
					t.Errorf("got %q, %v; want %q", data, err, greeting)
				}
			})
		}
		wg.Wait()
		testutil.Eventually(t, "the clients to leave", func() bool { return w.Len() == 0 })
	}
	testutil.Eventually(t, "the descriptors to be closed", func() bool { return testutil.OpenFiles(t) <= files })
	testutil.Eventually(t, "the memory of all connections to be freed", func() bool {
		runtime.GC()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			if c.Value() != nil {
				return false
			}
		}
		return len(conns) == 200
	})
}
