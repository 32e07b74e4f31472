package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// program is the running program.
type program struct {
	t     *testing.T
	url   string        // http://HOST:PORT
	lines chan string   // of its standard output, after the first
	stop  func()        // what a signal does
	ended chan struct{} // closed when run has returned
	err   error         // what it returned
}

// start runs the program with these arguments; if it is still running when the test ends, it is stopped.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	testutil.NoLeak(t)
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	p := &program{t: t, lines: make(chan string, 1000), stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = run(ctx, append([]string{"-listen", "0"}, args...), w)
		w.Close()
	}()
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { cancel(); p.wait() })
	line := p.line()
	if _, err := fmt.Sscanf(line, "Open %s", &p.url); err != nil {
		t.Fatalf("the first line is %q", line)
	}
	p.url = strings.TrimSuffix(p.url, "/")
	return p
}

// line returns the next line of the program's output.
func (p *program) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			<-p.ended
			p.t.Fatalf("the program has ended: %v", p.err)
		}
		return line
	case <-time.After(10 * time.Second):
		p.t.Fatal("waited in vain for a line of output")
	}
	panic("unreachable")
}

// await skips output up to a line that contains all of these.
func (p *program) await(parts ...string) {
	p.t.Helper()
next:
	for {
		line := p.line()
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue next
			}
		}
		return
	}
}

// wait waits for run to return.
func (p *program) wait() {
	p.t.Helper()
	select {
	case <-p.ended:
		if p.err != nil {
			p.t.Errorf("run: %v", p.err)
		}
	case <-time.After(20 * time.Second):
		p.t.Error("run does not return")
	}
}

// message is what the program sends to a client.
type message struct {
	Type       string
	Connection string
	Done, Of   int
}

func next(t *testing.T, c *testutil.Client) (m message) {
	t.Helper()
	if err := json.Unmarshal([]byte(c.Text()), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// connect connects a client, and returns the ID in its greeting.
func (p *program) connect() (c *testutil.Client, id string) {
	p.t.Helper()
	c = testutil.Dial(p.t, p.url+"/ws", testutil.Options{})
	hello := next(p.t, c)
	if hello.Type != "hello" || len(hello.Connection) != 36 {
		p.t.Fatalf("greeted with %+v", hello)
	}
	return c, hello.Connection
}

// startJob asks for a job, as the page does, with extra header fields, and returns the status of the answer.
func (p *program) startJob(id string, header ...string) int {
	p.t.Helper()
	req, err := http.NewRequest("POST", p.url+"/jobs", strings.NewReader(url.Values{"connection": {id}}.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (p *program) mustStartJob(id string) {
	p.t.Helper()
	if got := p.startJob(id); got != http.StatusAccepted {
		p.t.Fatalf("POST /jobs is answered %d, want %d", got, http.StatusAccepted)
	}
}

func TestEachClientSeesItsOwnJob(t *testing.T) {
	p := start(t, "-step", "1ms")
	first, firstID := p.connect()
	second, secondID := p.connect()
	third, thirdID := p.connect() // starts none
	if firstID == secondID || secondID == thirdID || firstID == thirdID {
		t.Fatal("two clients have the same ID")
	}
	for range 3 { // the final report permits the next job
		p.mustStartJob(firstID)
		p.mustStartJob(secondID)
		for done := range steps + 1 { // the reports of two jobs would not be in this order
			for _, c := range []*testutil.Client{first, second} {
				if got, want := next(t, c), (message{Type: "progress", Done: done, Of: steps}); got != want {
					t.Fatalf("got %+v, want %+v", got, want)
				}
			}
		}
	}
	p.stop()
	for _, c := range []*testutil.Client{first, second, third} {
		if _, _, err := c.Message(); !isClose(err, 1012) {
			t.Errorf("after its own jobs a client got %v, want a close frame 1012", err)
		}
	}
	p.wait()
}

func isClose(err error, code int) bool {
	closed, ok := err.(*testutil.CloseError)
	return ok && closed.Code == code
}

func TestJobEndsWithItsClient(t *testing.T) {
	for name, leave := range map[string]func(*testutil.Client){
		"close frame": func(c *testutil.Client) { c.SendClose(1000, "bye"); c.AwaitClose() },
		"lost":        func(c *testutil.Client) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "-step", "1h")
			leaver, id := p.connect()
			other, otherID := p.connect()
			p.mustStartJob(id)
			p.mustStartJob(otherID)
			if got := next(t, leaver); got.Done != 0 {
				t.Fatalf("the first report is %+v", got)
			}
			next(t, other)
			leave(leaver)
			p.await("job ended", "conn="+id[:8], "connection ended")
			if got := p.startJob(id); got != http.StatusGone {
				t.Errorf("a job for a client that has left is answered %d, want %d", got, http.StatusGone)
			}
			if got := p.startJob(otherID); got != http.StatusConflict {
				t.Errorf("a second job beside the first is answered %d, want %d", got, http.StatusConflict)
			}
		})
	}
}

// visit connects a client that speaks wspush.v1, as the page does; with resume it comes back.
func (p *program) visit(resume string) *testutil.Page {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	return testutil.Visit(p.t, conn, testutil.Options{Path: "/ws"}, resume)
}

// nextOf returns the next message to a page.
func nextOf(t *testing.T, page *testutil.Page) (m message) {
	t.Helper()
	if err := json.Unmarshal([]byte(page.Next()), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// begin connects a page, and starts a job for it.
func (p *program) begin() (page *testutil.Page, id string) {
	p.t.Helper()
	page = p.visit("")
	hello := nextOf(p.t, page)
	if page.Hello.Address != "" || hello.Type != "hello" || len(hello.Connection) != 36 {
		p.t.Fatalf("greeted with %+v, %+v", page.Hello, hello)
	}
	p.mustStartJob(hello.Connection)
	return page, hello.Connection
}

// A job goes on while its page is away, as often as that happens, and the page gets all of its progress, once and in order.
func TestPageComesBackToItsJob(t *testing.T) {
	p := start(t, "-step", "5ms")
	page, id := p.begin()
	for done := range steps + 1 {
		if done == 3 || done == 4 || done == 11 {
			if got := p.startJob(id); got != http.StatusConflict {
				t.Errorf("a second job beside the first is answered %d, want %d", got, http.StatusConflict)
			}
			page.Close()
			if done == 11 {
				p.await("job ended", "conn="+id[:8], "<nil>")
			}
			page = p.visit(page.Ticket())
			if !page.Hello.Resumed || page.Hello.Missed != 0 {
				t.Fatalf("back after %d: %+v", done, page.Hello)
			}
		}
		if got, want := nextOf(t, page), (message{Type: "progress", Done: done, Of: steps}); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
	p.mustStartJob(id) // what is next is of this job
	if got := nextOf(t, page); got.Done != 0 {
		t.Errorf("after the job has ended, the page got %+v", got)
	}
}

func TestJobWaitsForItsPageOnlySoLong(t *testing.T) {
	p := start(t, "-step", "1h", "-resume", "50ms")
	page, id := p.begin()
	if got := nextOf(t, page); got.Done != 0 {
		t.Fatalf("the first report is %+v", got)
	}
	page.Close()
	p.await("job ended", "conn="+id[:8], "connection ended")
	if got := p.startJob(id); got != http.StatusGone {
		t.Errorf("a job for a page that was away for too long is answered %d, want %d", got, http.StatusGone)
	}
	page = p.visit(page.Ticket())
	if page.Hello.Resumed || page.Hello.Why != "expired" {
		t.Errorf("it is back with %+v", page.Hello)
	}
	if got := nextOf(t, page); got.Type != "hello" || got.Connection == id {
		t.Errorf("greeted with %+v", got)
	}
}

// A page that is closed for good does not let its job wait.
func TestJobEndsWithItsPage(t *testing.T) {
	p := start(t, "-step", "1h")
	page, id := p.begin()
	nextOf(t, page)
	page.SendClose(1000, "")
	p.await("job ended", "conn="+id[:8], "connection ended")
}

func TestShutdownWhileThePageIsAway(t *testing.T) {
	p := start(t, "-step", "1h")
	page, id := p.begin()
	nextOf(t, page)
	page.Close()
	p.stop()
	p.wait()
	p.await("job ended", "conn="+id[:8], "connection ended")
}

func TestNoSessions(t *testing.T) {
	p := start(t, "-step", "1h", "-resume", "0")
	page, id := p.begin()
	if page.Hello.Window != 0 || page.Hello.Ticket != "" {
		t.Errorf("the hello is %+v", page.Hello)
	}
	nextOf(t, page) // otherwise the job may end in its first report, and for another reason
	page.Close()
	p.await("job ended", "conn="+id[:8], "connection ended")
}

// Clients vanish while their jobs report as fast as they can: whatever Push returns, the jobs end, and nothing remains of
// the connections.
func TestJobEndsAmidReports(t *testing.T) {
	p := start(t, "-step", "0")
	for range 300 {
		c, id := p.connect()
		p.mustStartJob(id)
		next(t, c)
		c.Close()
		p.await("job ended", "conn="+id[:8])
	}
	begin := time.Now()
	p.stop()
	p.wait()
	if took := time.Since(begin); took > 8*time.Second { // run gives the jobs 10 s
		t.Errorf("with all clients gone, shutdown took %v: something of a connection was left", took)
	}
}

func TestShutdownWithAJobUnderWay(t *testing.T) {
	p := start(t, "-step", "1h")
	c, id := p.connect()
	p.mustStartJob(id)
	next(t, c)
	p.stop()
	if code, reason := c.AwaitClose(); code != 1012 {
		t.Errorf("the client is closed with %d %q, want 1012", code, reason)
	}
	p.wait()
	p.await("job ended", "conn="+id[:8], "shutdown") // run waited for it, so the line is there
}

func TestOnlyOwnPagesStartJobs(t *testing.T) {
	p := start(t, "-step", "1h")
	_, id := p.connect()
	for _, foreign := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
	} {
		if got := p.startJob(id, foreign...); got != http.StatusForbidden {
			t.Errorf("with %s: answered %d, want %d", foreign, got, http.StatusForbidden)
		}
	}
	header := http.Header{"Origin": {"https://evil.example"}}
	if _, resp, err := testutil.TryDial(t, p.url+"/ws", testutil.Options{Header: header}); err == nil {
		t.Error("a page of another site connects")
	} else if resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site is refused with %v, want 403", err)
	}
	if got := p.startJob(id, "Origin", p.url, "Sec-Fetch-Site", "same-origin"); got != http.StatusAccepted {
		t.Errorf("the page itself is answered %d, want %d", got, http.StatusAccepted)
	}
}

func TestRefusedRequests(t *testing.T) {
	p := start(t)
	for _, id := range []string{"", "123", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", strings.Repeat("x", 5000)} {
		if got := p.startJob(id); got != http.StatusGone {
			t.Errorf("a job for %.40q is answered %d, want %d", id, got, http.StatusGone)
		}
	}
	for path, want := range map[string]int{"/": 200, "/wspush.js": 200, "/ws": 426, "/jobs": 405, "/other": 404} {
		resp, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s is answered %d, want %d", path, resp.StatusCode, want)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); path == "/" && !strings.Contains(csp, "default-src 'none'") {
			t.Errorf("the page's Content-Security-Policy is %q", csp)
		}
	}
}

func TestBadArguments(t *testing.T) {
	testutil.NoLeak(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // ends the program at once if it is not refused
	for _, args := range [][]string{
		{"-nonsense"},
		{"-step", "fast"},
		{"argument"},
		{"-listen", "127.0.0.1:99999"},
	} {
		if err := run(ctx, args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
