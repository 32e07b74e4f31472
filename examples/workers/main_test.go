//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// asProgram is the environment variable that makes the test binary run the program; roleVariable makes a child of that.
const asProgram = "WSPUSH_TEST_WORKERS"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	testutil.Main(m)
}

// program is the running program with everything it has started.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string // the public name
	token string
	tmp   string      // where it has its files
	lines chan string // of its standard output, after the token
	pids  map[string]int
	ended chan struct{} // closed when it has exited
	err   error         // nil if that was with status 0
}

// launch runs the program with these arguments. If it is still running when the test ends, it is stopped, and it must leave
// nothing behind.
func launch(t *testing.T, args ...string) *program {
	t.Helper()
	if _, err := findNginx(); err != nil {
		t.Skip(err)
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, tmp: t.TempDir(), lines: make(chan string, 1000), pids: map[string]int{}, ended: make(chan struct{})}
	if err := os.Chmod(filepath.Dir(p.tmp), 0o711); err != nil { // as root, nginx has processes of another user's
		t.Fatal(err)
	}
	p.cmd = exec.Command(executable, append([]string{"-listen=0"}, args...)...)
	// The race detector would otherwise make each process sleep for 1 s before it exits.
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+p.tmp, "GORACE=atexit_sleep_ms=0")
	p.cmd.Stderr = t.Output()
	p.cmd.WaitDelay = 10 * time.Second // in case a child still has the output open
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
		p.err = p.cmd.Wait()
		close(p.lines)
		close(p.ended)
	}()
	t.Cleanup(func() { p.stop() })
	for p.token == "" {
		p.understand(p.line())
	}
	return p
}

// line returns the next line of the program's output.
func (p *program) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("the program has ended: %v", p.err)
		}
		return line
	case <-time.After(20 * time.Second):
		p.t.Fatal("waited in vain for a line of output")
	}
	panic("unreachable")
}

// understand records what a line of the output says about the processes.
func (p *program) understand(line string) {
	name, rest, _ := strings.Cut(line, ": ")
	if pid := 0; strings.HasPrefix(rest, "pid ") {
		if _, err := fmt.Sscanf(rest, "pid %d,", &pid); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		p.pids[name] = pid
	}
	_, _ = fmt.Sscanf(line, "Open %s", &p.url)
	p.url = strings.TrimSuffix(p.url, "/")
	if _, token, ok := strings.Cut(line, "export PUSH_TOKEN="); ok {
		p.token = token
	}
}

// await reads the output up to a line that begins with this text.
func (p *program) await(begin string) {
	p.t.Helper()
	for {
		line := p.line()
		if p.understand(line); strings.HasPrefix(line, begin) {
			return
		}
	}
}

// stop acts like Ctrl-C, waits, and checks that nothing is left.
func (p *program) stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		p.t.Error("the program does not stop")
		<-p.ended
	}
	if p.err != nil {
		p.t.Errorf("the program has exited with: %v", p.err)
	}
	for name, pid := range p.pids {
		if err := syscall.Kill(pid, 0); err == nil {
			p.t.Errorf("%s, pid %d, is still there", name, pid)
		}
	}
	if left, err := os.ReadDir(p.tmp); err != nil || len(left) > 0 {
		p.t.Errorf("files are left: %v, %v", left, err)
	}
}

// guest is a client with the contents of its greeting.
type guest struct {
	*testutil.Client
	Worker, Workers, PID, Port int
	Address                    string
}

func (p *program) connect() *guest {
	p.t.Helper()
	c := &guest{Client: testutil.Dial(p.t, p.url+"/ws", testutil.Options{})}
	if err := json.Unmarshal([]byte(c.Text()), c); err != nil {
		p.t.Fatal(err)
	}
	if !strings.HasPrefix(c.Address, p.url+"/ws/@connections/v1.") || c.PID != p.pids[fmt.Sprint("worker ", c.Worker)] {
		p.t.Fatalf("greeted with %+v", c)
	}
	return c
}

// inbox holds a client's messages. It reads continuously, since only a client that reads confirms pushes.
type inbox struct {
	t   *testing.T
	got chan string // closed when the connection has ended
}

func (c *guest) listen(t *testing.T) inbox {
	in := inbox{t, make(chan string, 100)}
	go func() {
		defer close(in.got)
		for {
			_, data, err := c.Message()
			if err != nil {
				return
			}
			in.got <- string(data)
		}
	}()
	return in
}

func (in inbox) expect(want string) {
	in.t.Helper()
	if got, ok := <-in.got; !ok || got != want {
		in.t.Errorf("got %q, %v, want %q", got, ok, want)
	}
}

func (in inbox) expectEnd() {
	in.t.Helper()
	if got, ok := <-in.got; ok {
		in.t.Errorf("got %q, want the end", got)
	}
}

// do sends a request to an address with the publisher's token, and returns the status, the worker that took the request,
// and the body.
func (p *program) do(method, address, body string) (status, worker int, answer string) {
	p.t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	worker, _ = strconv.Atoi(resp.Header.Get("X-Worker"))
	return resp.StatusCode, worker, string(data)
}

// post posts a form to the publisher, as the page does.
func (p *program) post(path string, fields ...string) (status int, answer string) {
	p.t.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	resp, err := http.PostForm(p.url+path, form)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(data))
}

// A push reaches its client through any worker, and each worker gets some pushes.
func TestPushes(t *testing.T) {
	p := launch(t)
	var clients []*guest
	held := map[int]int{}
	for range 6 {
		c := p.connect()
		clients = append(clients, c)
		held[c.Worker]++
	}
	if len(held) != 3 || held[1] != 2 || held[2] != 2 {
		t.Errorf("clients by worker: %v, want 2 at each of 3", held)
	}
	took, forwarded := map[int]int{}, 0
	for i := range 60 {
		c, text := clients[i/10], fmt.Sprint("push ", i) // i%6 could be in step with nginx
		status, worker, answer := p.do("POST", c.Address, text)
		if status != http.StatusNoContent {
			t.Fatalf("a push is answered %d: %s", status, answer)
		}
		c.Expect(testutil.Text, text)
		took[worker]++
		if worker != c.Worker {
			forwarded++
		}
	}
	if len(took) != 3 || forwarded == 0 {
		t.Errorf("pushes by the worker that took them in: %v, of which forwarded %d", took, forwarded)
	}
	sum := stats{}
	for n := range 3 {
		status, _, answer := p.do("GET", fmt.Sprint(p.url, "/workers/", n+1), "")
		var one stats
		if err := json.Unmarshal([]byte(answer), &one); err != nil || status != http.StatusOK || one.Worker != n+1 || one.PID != p.pids[fmt.Sprint("worker ", n+1)] {
			t.Fatalf("worker %d says %d %s", n+1, status, answer)
		}
		sum.Held, sum.TakenIn, sum.Forwarded, sum.Written = sum.Held+one.Held, sum.TakenIn+one.TakenIn, sum.Forwarded+one.Forwarded, sum.Written+one.Written
	}
	if sum.Held != 6 || sum.TakenIn != 60 || sum.Forwarded != uint64(forwarded) || sum.Written != 60 {
		t.Errorf("the workers say %+v, want 6, 60, %d, 60", sum, forwarded)
	}
	p.stop()
	for _, c := range clients {
		if code, reason := c.AwaitClose(); code != 1012 {
			t.Errorf("a client is closed with %d %q, want 1012: nginx has to be the last to end", code, reason)
		}
	}
}

// Knowing an address is not enough, neither here nor at the workers' own ports.
func TestToken(t *testing.T) {
	p := launch(t, "-workers=1")
	c := p.connect()
	own := fmt.Sprintf("http://127.0.0.1:%d%s", c.Port, strings.TrimPrefix(c.Address, p.url))
	for _, address := range []string{c.Address, own} {
		for _, token := range []string{"", "wrong"} {
			r, err := http.NewRequest("POST", address, strings.NewReader("no"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("with token %q: answered %s, want 401", token, resp.Status)
			}
		}
	}
	header := http.Header{"Origin": {"https://evil.example"}}
	if _, resp, err := testutil.TryDial(t, p.url+"/ws", testutil.Options{Header: header}); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a page of another site is answered %v, %v", resp, err)
	}
	header.Set("Origin", p.url)
	testutil.Dial(t, p.url+"/ws", testutil.Options{Header: header}).Text()
}

// A killed worker takes only its own clients with it.
func TestKilledWorker(t *testing.T) {
	p := launch(t, "-restart=3s")
	clients := map[int]*guest{}
	for range 3 {
		c := p.connect()
		clients[c.Worker] = c
	}
	dead := clients[2]
	if err := syscall.Kill(dead.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	dead.AwaitEOF()
	p.await("worker 2, pid " + strconv.Itoa(dead.PID) + ", has ended (signal: killed)")
	for i := range 9 {
		if status, _, answer := p.do("POST", dead.Address, "lost"); status != http.StatusBadGateway || !strings.Contains(answer, "urn:wspush:unreachable") {
			t.Errorf("a push to a client of the dead worker is answered %d: %s", status, answer)
		}
		for _, n := range []int{1, 3} {
			text := fmt.Sprint("push ", i)
			if status, _, answer := p.do("POST", clients[n].Address, text); status != http.StatusNoContent {
				t.Errorf("a push to another is answered %d: %s", status, answer)
			}
			clients[n].Expect(testutil.Text, text)
		}
	}
	if again := p.connect(); again.Worker == 2 {
		t.Error("a client lands at the dead worker")
	}
	p.await("worker 2: pid ")
	for range 3 {
		if status, _, answer := p.do("POST", dead.Address, "lost"); status != http.StatusGone {
			t.Errorf("once the worker has been started again, a push is answered %d: %s", status, answer)
		}
	}
	testutil.Eventually(t, "a client to land at the next worker 2", func() bool { return p.connect().Worker == 2 })
}

// A worker that is asked to end drains, and its clients go elsewhere.
func TestDrainedWorker(t *testing.T) {
	p := launch(t, "-restart=0", "-workers=2")
	c := p.connect()
	if err := syscall.Kill(c.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, _ := c.AwaitClose(); code != 1012 {
		t.Errorf("closed with %d, want 1012", code)
	}
	p.await(fmt.Sprintf("worker %d, pid %d, has ended (exit status 0); it is not restarted", c.Worker, c.PID))
	if again := p.connect(); again.Worker == c.Worker {
		t.Error("a client lands where nobody is")
	}
}

// Without nginx the program refuses to start.
func TestKilledNginx(t *testing.T) {
	p := launch(t)
	if err := syscall.Kill(-p.pids["nginx"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.err == nil {
		t.Error("the program exits with status 0")
	}
	p.err = nil
}

// Children end with their parent, even if it had no chance to tell them.
func TestKilledParent(t *testing.T) {
	p := launch(t)
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(-p.pids["nginx"], syscall.SIGKILL); err != nil { // nobody tells nginx to end
		t.Fatal(err)
	}
	<-p.ended
	p.err = nil
	testutil.Eventually(t, "all children to end", func() bool {
		for _, pid := range p.pids {
			if syscall.Kill(pid, 0) == nil {
				return false
			}
		}
		return true
	})
	for _, left := range must(filepath.Glob(filepath.Join(p.tmp, "*"))) {
		if err := os.RemoveAll(left); err != nil {
			t.Error(err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Visitors send each other messages by name, and never see any address but their own.
func TestVisitors(t *testing.T) {
	p := launch(t)
	const key1, key2 = "the key of the first", "the key of the second"
	c1, c2 := p.connect(), p.connect()
	got := c2.listen(t)
	for i, c := range []*guest{c1, c2} {
		status, answer := p.post("/visitors", "key", []string{key1, key2}[i], "address", c.Address)
		if want := fmt.Sprintf("%q", fmt.Sprint("Visitor ", i+1)); status != http.StatusOK || answer != want {
			t.Fatalf("registering is answered %d %s, want %s", status, answer, want)
		}
	}
	if _, _, answer := p.do("GET", p.url+"/visitors", ""); strings.TrimSpace(answer) != `["Visitor 1","Visitor 2"]` {
		t.Errorf("the visitors are %s", answer)
	}
	if status, answer := p.post("/visitors/send", "key", key1, "to", "Visitor 2", "text", "grüße"); status != http.StatusOK {
		t.Errorf("sending is answered %d %s", status, answer)
	} else if got := sentOf(t, answer); got.RTT <= 0 || got.Buffered != 0 {
		t.Errorf("sending is answered %s, want the round trip", answer)
	}
	got.expect("Visitor 1: grüße")

	// After reconnecting, the second visitor keeps its name.
	c2.SendClose(1000, "")
	got.expectEnd()
	again := p.connect()
	got = again.listen(t)
	if _, answer := p.post("/visitors", "key", key2, "address", again.Address); answer != `"Visitor 2"` {
		t.Errorf("registering again is answered %s", answer)
	}
	p.post("/visitors/send", "key", key1, "to", "Visitor 2", "text", "still there?")
	got.expect("Visitor 1: still there?")

	// A visitor that vanishes is forgotten at the next push.
	again.SendClose(1000, "")
	got.expectEnd()
	for _, want := range []string{"gone", "left"} {
		if status, answer := p.post("/visitors/send", "key", key1, "to", "Visitor 2", "text", "hello?"); status != http.StatusGone || !strings.Contains(answer, want) {
			t.Errorf("sending to one who has left is answered %d %s, want %q", status, answer, want)
		}
	}
	p.post("/visitors/leave", "key", key1)
	if _, _, answer := p.do("GET", p.url+"/visitors", ""); strings.TrimSpace(answer) != `[]` {
		t.Errorf("the visitors are %s", answer)
	}
}

func sentOf(t *testing.T, answer string) (s sent) {
	t.Helper()
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		t.Error(err)
	}
	return s
}

// visit connects a client that speaks wspush.v1, as the page does, and returns its greeting, too; with resume it comes back instead.
func (p *program) visit(resume string) (*testutil.Page, *guest) {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	page, g := testutil.Visit(p.t, conn, testutil.Options{Path: "/ws"}, resume), &guest{}
	if !page.Hello.Resumed {
		if err := json.Unmarshal([]byte(page.Next()), g); err != nil {
			p.t.Fatal(err)
		}
	}
	return page, g
}

// With one worker, a page that has lost its WebSocket comes back to its session, through nginx.
func TestPageComesBack(t *testing.T) {
	p := launch(t, "-workers=1")
	page, g := p.visit("")
	const key = "the key of the page"
	if status, answer := p.post("/visitors", "key", key, "address", g.Address); status != http.StatusOK {
		t.Fatalf("registering is answered %d %s", status, answer)
	}
	page.Close()
	var pushed []string
	testutil.Eventually(t, "that it is away", func() bool {
		pushed = append(pushed, fmt.Sprint("message ", len(pushed)))
		status, _, answer := p.do("POST", g.Address, pushed[len(pushed)-1])
		if status != http.StatusNoContent && status != http.StatusAccepted {
			t.Errorf("a push is answered %d %s", status, answer)
		}
		return status == http.StatusAccepted
	})
	// What a visitor sends waits for the other for some seconds, and is then withdrawn.
	if status, answer := p.post("/visitors/send", "key", key, "to", "Visitor 1", "text", "too late"); status != http.StatusConflict || !strings.Contains(answer, "away") {
		t.Errorf("sending to one who is away is answered %d %s", status, answer)
	}
	page, _ = p.visit(page.Ticket())
	if !page.Hello.Resumed || page.Hello.Missed != 0 {
		t.Fatalf("it is back with %s", page.Hello.Raw)
	}
	page.Want(pushed...)
	if status, answer := p.post("/visitors/send", "key", key, "to", "Visitor 1", "text", "in time"); status != http.StatusOK || sentOf(t, answer).RTT <= 0 {
		t.Errorf("sending is answered %d %s", status, answer)
	}
	page.Want("Visitor 1: in time")
}

// At another worker it comes back to its session as well, with what was pushed meanwhile, and is told its new address. The old one stays good.
func TestPageAtAnotherWorker(t *testing.T) {
	p := launch(t, "-workers=2")
	page, g := p.visit("")
	page.Close()
	testutil.Eventually(t, "that it is away", func() bool {
		_, _, answer := p.do("GET", g.Address, "")
		return strings.Contains(answer, `"state":"suspended"`)
	})
	if status, _, answer := p.do("POST", g.Address, "away"); status != http.StatusAccepted {
		t.Errorf("a push is answered %d %s", status, answer)
	}
	again, _ := p.visit(page.Ticket())
	if !again.Hello.Resumed || again.Hello.Missed != 0 {
		t.Fatalf("it is back with %s", again.Hello.Raw)
	}
	again.Want("away")
	told, now := again.Next(), &guest{}
	text, ok := strings.CutPrefix(told, moved)
	if err := json.Unmarshal([]byte(text), now); !ok || err != nil || now.Worker == g.Worker || now.Address == g.Address {
		t.Fatalf("it is told %q (%v), and was at worker %d with %s", told, err, g.Worker, g.Address)
	}
	for i, address := range []string{g.Address, now.Address} {
		text := fmt.Sprint("to address ", i)
		if status, _, answer := p.do("POST", address, text); status != http.StatusNoContent {
			t.Errorf("a push is answered %d %s", status, answer)
		}
		again.Want(text)
	}
}

// The publisher pushes only under the public name.
func TestRefusedRequests(t *testing.T) {
	p := launch(t, "-workers=1")
	c := p.connect()
	const key = "the key of the first"
	token := c.Address[strings.LastIndexByte(c.Address, '/'):]
	for address, want := range map[string]int{
		"": 400,
		"http://evil.example/ws/@connections" + token:                       400,
		fmt.Sprintf("http://127.0.0.1:%d/ws/@connections%s", c.Port, token): 400, // the worker itself: only under the public name
		p.url + "/ws": 400,
		p.url + "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed": 410,
		p.url + "/ws/@connections" + token[:len(token)-4] + "AAAA":      503,
		c.Address: 200,
	} {
		if status, answer := p.post("/visitors", "key", key, "address", address); status != want {
			t.Errorf("registering %.60s is answered %d %s, want %d", address, status, answer, want)
		}
	}
	for fields, want := range map[[3]string]int{
		{"another key, unknown", "Visitor 1", "hello"}:     403,
		{key, "Visitor 9", "hello"}:                        410,
		{key, "Visitor 1", ""}:                             400,
		{key, "Visitor 1", strings.Repeat("x", maxText+1)}: 400,
		{key, "Visitor 1", strings.Repeat("x", maxBody)}:   400,
	} {
		if status, answer := p.post("/visitors/send", "key", fields[0], "to", fields[1], "text", fields[2]); status != want {
			t.Errorf("sending %.60q is answered %d %s, want %d", fields, status, answer, want)
		}
	}
	for path, want := range map[string]int{"/": 200, "/ws": 426, "/other": 404, "/workers/2": 404, "/stats": 200} {
		if status, _, _ := p.do("GET", p.url+path, ""); status != want {
			t.Errorf("GET %s is answered %d, want %d", path, status, want)
		}
	}
	resp, err := http.Get(p.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("the page's Content-Security-Policy is %q", csp)
	}
}

// Faults in the command line are reported before anything is started.
func TestBadArguments(t *testing.T) {
	testutil.NoLeak(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, args := range [][]string{
		{"-nonsense"},
		{"argument"},
		{"-workers", "0"},
		{"-workers", "65"},
		{"-restart", "-1s"},
		{"-listen", ":8083"},
		{"-listen", "0.0.0.0:8083"},
		{"-listen", "127.0.0.1:99999"},
	} {
		if err := run(ctx, args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}

func TestNoNginx(t *testing.T) {
	testutil.NoLeak(t)
	t.Setenv("TMPDIR", t.TempDir())
	defer func(before []string) { programs = before }(programs)
	programs = []string{"wspush-no-such-program"}
	err := run(context.Background(), []string{"-listen", "0"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "apt-get install nginx-light") {
		t.Errorf("without nginx: %v", err)
	}
	if left := must(os.ReadDir(os.Getenv("TMPDIR"))); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// A child's settings appear neither in its arguments, which everyone can see, nor in its environment.
func TestSecrets(t *testing.T) {
	p := launch(t, "-workers=1")
	pid := p.pids["worker 1"]
	for _, name := range []string{"cmdline", "environ"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if errors.Is(err, os.ErrNotExist) {
			t.Skip("there is no /proc")
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), p.token) {
			t.Errorf("the token is in the worker's %s", name)
		}
	}
}
