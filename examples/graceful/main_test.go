package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// asProgram is the environment variable that makes the test binary run the program, so that the tests can see its exit
// status and send it signals.
const asProgram = "WSPUSH_TEST_GRACEFUL"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	_ = flag.Set("test.parallel", "8") // even on few processors: these tests mostly wait
	testutil.Main(m)
}

// clusterKey is what all programs have.
const clusterKey = "0f1e2d3c4b5a69788796a5b4c3d2e1f0123456789abcdef0fedcba9876543210"

// process is the running program.
type process struct {
	t         *testing.T
	cmd       *exec.Cmd
	url       string        // of the WebSocket
	signalled time.Time     // when SIGTERM was sent last
	ended     chan struct{} // closed when it has exited
	err       error         // nil if that was with status 0
}

// launch runs the program with these arguments; if it is still running when the test ends, it is killed.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGTERM")
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(executable, append([]string{"-listen=0"}, args...)...)
	// The race detector would otherwise sleep for 1 s before the exit.
	cmd.Env = append(os.Environ(), asProgram+"=1", "POD_IP=127.0.0.2", "CLUSTER_KEY="+clusterKey, "GORACE=atexit_sleep_ms=0")
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	p.cmd.Stderr = t.Output()
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	if _, err := fmt.Sscanf(line, "Serving %s", &p.url); err != nil {
		t.Fatalf("the first line is %q (%v)", line, readErr)
	}
	return p
}

// signal sends SIGTERM.
func (p *process) signal() {
	p.t.Helper()
	p.signalled = time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// exited reports whether the program has exited.
func (p *process) exited() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// expectExit waits for the program to exit with status 0, within the given time from the signal.
func (p *process) expectExit(within time.Duration) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		p.t.Fatal("the program does not exit")
	}
	if took := time.Since(p.signalled); p.err != nil || took > within {
		p.t.Errorf("after %v the program has exited with: %v", took, p.err)
	}
}

// status returns the status of the answer to a GET.
func (p *process) status(path string) int {
	p.t.Helper()
	resp, err := http.Get(strings.TrimSuffix(p.url, "/ws") + path)
	if err != nil {
		p.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// plain is a client of the program that does not speak wspush.v1. A goroutine reads its messages to the end.
type plain struct {
	*testutil.Client
	address string        // for pushes, with the ID in the path
	got     chan string   // the messages
	ended   chan struct{} // closed when the connection has ended
	at      time.Time     // then
	err     error         // and how
}

// connect connects a client.
func (p *process) connect(opts testutil.Options) *plain {
	p.t.Helper()
	c := &plain{Client: testutil.Dial(p.t, p.url, opts), got: make(chan string, 1000), ended: make(chan struct{})}
	c.address = pathForm(p.t, c.Text())
	go func() {
		defer close(c.ended)
		for {
			_, data, err := c.Message()
			if err != nil {
				c.at, c.err = time.Now(), err
				return
			}
			c.got <- string(data)
		}
	}()
	return c
}

// pathForm turns the greeting into the address with the ID in the path, at the push listener's actual host.
func pathForm(t *testing.T, greeting string) string {
	t.Helper()
	u, err := url.Parse(greeting)
	if err != nil || u.User == nil || u.Hostname() != "127.0.0.2" {
		t.Fatalf("greeted with %q, %v, which is not an address at POD_IP", greeting, err)
	}
	return "http://127.0.0.1:" + u.Port() + "/ws/@connections/" + u.User.Username()
}

// push pushes a message, and returns the status of the answer.
func push(t *testing.T, address, body string) int {
	t.Helper()
	resp, err := http.Post(address, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// hasEnded reports whether the connection has ended.
func (c *plain) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// expectClosed waits until the client is closed, and returns the time of that.
func (c *plain) expectClosed(t *testing.T) time.Time {
	t.Helper()
	<-c.ended // Message does not wait for ever
	var closed *testutil.CloseError
	if !errors.As(c.err, &closed) || closed.Code != 1012 {
		t.Errorf("a client ended with %v, want a close frame 1012", c.err)
	}
	return c.at
}

// A client has 2 s to answer the close frame; one that has vanished does not delay the exit.
func TestSilentClients(t *testing.T) {
	t.Parallel()
	p := launch(t, "-delay=0", "-drain=200ms")
	var clients []*plain
	for i := range 4 {
		clients = append(clients, p.connect(testutil.Options{Silent: i%2 == 0}))
	}
	vanished := p.connect(testutil.Options{})
	vanished.Close()
	p.signal()
	for _, c := range clients {
		c.expectClosed(t)
	}
	<-vanished.ended
	p.expectExit(10 * time.Second)
}

// While clients are being closed one after another, the readiness probe fails, nobody can connect, and clients that are
// still connected receive pushes. Then the program exits with status 0.
func TestDrain(t *testing.T) {
	t.Parallel()
	const drain = 1200 * time.Millisecond
	p := launch(t, "-delay=0", "-drain="+drain.String())
	var clients []*plain
	ends := make(chan bool, 20)
	for range cap(ends) {
		c := p.connect(testutil.Options{})
		clients = append(clients, c)
		go func() { <-c.ended; ends <- true }()
	}
	if got := p.status("/healthz"); got != http.StatusOK {
		t.Errorf("before the signal the readiness probe is answered %d", got)
	}
	p.signal()
	<-ends
	if got := p.status("/healthz"); got != http.StatusServiceUnavailable {
		t.Errorf("while it drains the readiness probe is answered %d", got)
	}
	if _, resp, err := testutil.TryDial(t, p.url, testutil.Options{}); err == nil || resp == nil ||
		resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("while it drains a client that connects is answered %v, %v", resp, err)
	}
	delivered := 0
	for _, c := range clients {
		if c.hasEnded() {
			continue
		}
		switch got := push(t, c.address, "still here"); got {
		case http.StatusNoContent:
			if message := <-c.got; message != "still here" {
				t.Errorf("a client got %q", message)
			}
			delivered++
		case http.StatusGone, http.StatusServiceUnavailable: // it has just been closed
		default:
			t.Errorf("a push is answered %d", got)
		}
	}
	if delivered == 0 {
		t.Error("no client that was still connected could be pushed to")
	}
	var closed []time.Duration
	for _, c := range clients {
		closed = append(closed, c.expectClosed(t).Sub(p.signalled))
	}
	slices.Sort(closed)
	for i, after := range closed { // later is a slow machine, earlier is too fast
		if due := drain * time.Duration(i) / time.Duration(len(closed)); after < due {
			t.Errorf("client %d of %d was closed after %v, before %v", i, len(closed), after, due)
		}
	}
	p.expectExit(20 * time.Second)
}

// During -delay only the readiness probe shows that the program is about to stop. A second signal ends it.
func TestDelay(t *testing.T) {
	t.Parallel()
	p := launch(t, "-delay=1m", "-grace=2m")
	p.signal()
	testutil.Eventually(t, "the readiness probe to fail", func() bool {
		return p.status("/healthz") == http.StatusServiceUnavailable
	})
	c := p.connect(testutil.Options{})
	if got := push(t, c.address, "welcome"); got != http.StatusNoContent {
		t.Errorf("a push is answered %d", got)
	}
	if message := <-c.got; message != "welcome" {
		t.Errorf("the client got %q", message)
	}
	// Repeatedly: the program may have only just noticed the first signal.
	testutil.Eventually(t, "the program to end", func() bool { p.signal(); return p.exited() })
	if p.err == nil {
		t.Error("the program exits with status 0, as if it had drained")
	}
	<-c.ended
}

// A client that does not read, not even its close frame, is cut off before -grace is over.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Second
	p := launch(t, "-delay=0", "-drain=10s", "-grace="+grace.String())
	reader := p.connect(testutil.Options{})
	conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(p.url, "http://"), "/ws"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	address := pathForm(t, testutil.Handshake(t, conn, testutil.Options{}).Text())
	for push(t, address+"?timeout=100ms", strings.Repeat("x", 1<<20)) == http.StatusNoContent {
		// The kernel still has room for this.
	}
	p.signal()
	reader.expectClosed(t)
	p.expectExit(grace)
	if took := time.Since(p.signalled); took < grace-reserve {
		t.Errorf("the client has been given %v, of %v", took, grace-reserve)
	}
}

// The grace periods of the platforms fit the program's, and so do the ports.
func TestNumbers(t *testing.T) {
	s, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	const (
		linger = 3 * time.Second // of the clients closed last; see wspush.WorkerOptions.DrainOver
		margin = 5 * time.Second // for the platform itself
	)
	if need := s.delay + s.drain + linger + reserve; s.grace < need {
		t.Errorf("-grace is %v by default, and -delay, -drain and the rest take %v", s.grace, need)
	}
	const comeBack = 10 * time.Second // for the clients closed last: with wspush.js, several attempts
	if takes := (s.grace - s.delay - reserve) * 2 / 3; takes < s.drain+comeBack {
		t.Errorf("sessions are given up %v after Shutdown begins, and the last clients are closed after %v", takes, s.drain)
	}
	manifest, unit := read(t, "kubernetes.yaml"), read(t, "graceful.service")
	seconds := func(text, key string) time.Duration { return time.Duration(number(t, text, key)) * time.Second }
	for key, got := range map[string]time.Duration{
		"terminationGracePeriodSeconds:": seconds(manifest, "terminationGracePeriodSeconds:"),
		"TimeoutStopSec=":                seconds(unit, "TimeoutStopSec="),
	} {
		if got < s.grace+margin {
			t.Errorf("%s %v is too close to -grace %v", key, got, s.grace)
		}
	}
	if got := seconds(manifest, "minReadySeconds:"); got < s.delay+s.drain {
		t.Errorf("minReadySeconds: %v: the next pod begins to drain before the last has done so, after %v", got, s.delay+s.drain)
	}
	notice := seconds(manifest, "periodSeconds:") * time.Duration(number(t, manifest, "failureThreshold:"))
	if notice+time.Second > s.delay {
		t.Errorf("the readiness probe takes %v to fail, and -delay is %v", notice, s.delay)
	}
	for _, port := range []struct{ flag, container string }{
		{"- -listen=:", "- name: http\n +containerPort:"},
		{"- -push=:", "- name: push\n +containerPort:"},
		{"- -push=:", "- name: push\n +port:"},
	} {
		if listens, declared := number(t, manifest, port.flag), number(t, manifest, port.container); listens != declared {
			t.Errorf("%s%d, but the container's port is %d", port.flag, listens, declared)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// number returns the number after key, a regular expression that matches at the beginning of a line.
func number(t *testing.T, text, key string) int {
	t.Helper()
	match := regexp.MustCompile(`(?m)^ *`+key+` *(\d+)$`).FindAllStringSubmatch(text, -1)
	if len(match) != 1 {
		t.Fatalf("there are %d numbers for %q", len(match), key)
	}
	n, err := strconv.Atoi(match[0][1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// aboutManifest is Python: it prints which kinds of objects there are, if all of them are about the Deployment's pods, and these find and reach each
// other while they drain.
const aboutManifest = `
import sys, yaml
docs = list(yaml.safe_load_all(sys.stdin))
deployment, service, workers, policy, budget = docs
pod = deployment["spec"]["template"]
mine = pod["metadata"]["labels"]
for selector in (deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"], workers["spec"]["selector"],
                 policy["spec"]["podSelector"]["matchLabels"], budget["spec"]["selector"]["matchLabels"]):
    assert selector == mine, selector
container = pod["spec"]["containers"][0]
ports = {p["name"] for p in container["ports"]}
for s in service, workers:
    assert {p["targetPort"] for p in s["spec"]["ports"]} < ports, s
assert workers["spec"]["clusterIP"] == "None" and workers["spec"]["publishNotReadyAddresses"] is True
assert "-peers=" + workers["metadata"]["name"] in container["args"]
assert any(e["name"] == "CLUSTER_KEY" and "secretKeyRef" in e["valueFrom"] for e in container["env"])
open_to = {r["ports"][0]["port"]: [f["podSelector"]["matchLabels"] for f in r.get("from", [])] for r in policy["spec"]["ingress"]}
assert open_to["http"] == [] and mine in open_to["push"] and len(open_to["push"]) == 2, open_to
assert budget["spec"]["maxUnavailable"] == 1 and deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
print(*(d["kind"] for d in docs))
`

// Both files are valid according to their programs, as far as those are installed.
func TestWellFormed(t *testing.T) {
	t.Parallel()
	t.Run("kubernetes.yaml", func(t *testing.T) {
		t.Parallel()
		if err := exec.Command("python3", "-c", "import yaml").Run(); err != nil {
			t.Skipf("python3 with yaml: %v", err)
		}
		cmd := exec.Command("python3", "-c", aboutManifest)
		cmd.Stdin = strings.NewReader(read(t, "kubernetes.yaml"))
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != "Deployment Service Service NetworkPolicy PodDisruptionBudget" {
			t.Errorf("%s, %v", got, err)
		}
	})
	t.Run("graceful.service", func(t *testing.T) {
		t.Parallel()
		analyze, err := exec.LookPath("systemd-analyze")
		if err != nil {
			t.Skip(err)
		}
		executable, err := os.Executable() // it must exist
		if err != nil {
			t.Fatal(err)
		}
		unit := filepath.Join(t.TempDir(), "graceful.service")
		text := strings.ReplaceAll(read(t, "graceful.service"), "/usr/local/bin/graceful", executable)
		if err := os.WriteFile(unit, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		// It may also complain about units of the machine's own.
		out, _ := exec.Command(analyze, "verify", unit).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "graceful.service") {
				t.Error(line)
			}
		}
	})
}

func TestBadArguments(t *testing.T) {
	t.Setenv("CLUSTER_KEY", "")
	for _, tt := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{"-nonsense"}, "nonsense"},
		{[]string{"-drain", "slowly"}, "slowly"},
		{[]string{"argument"}, `unexpected argument "argument"`},
		{[]string{"-delay=-1s"}, "negative"},
		{[]string{"-drain=-1s"}, "negative"},
		{[]string{"-grace=0"}, "leaves no time"},
		{[]string{"-delay=44s"}, "leaves no time"},
		{[]string{"-peers=localhost"}, "CLUSTER_KEY"},
		{[]string{"-peers=localhost", "-session-file=sessions"}, "without -peers"},
	} {
		if _, err := parse(tt.args); err == nil {
			t.Errorf("%q is accepted", tt.args)
		} else if !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: the error is %q, want %q in it", tt.args, err, tt.want)
		}
	}
	for _, args := range [][]string{{"-listen=127.0.0.1:99999"}, {"-listen=0", "-push=127.0.0.1:99999"}} {
		if err := run(t.Context(), args, t.Output()); err == nil || !strings.Contains(err.Error(), "99999") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// visit connects as a page with wspush.js does; with resume it comes back.
func (p *process) visit(resume string) *testutil.Page {
	p.t.Helper()
	u, err := url.Parse(p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		p.t.Fatal(err)
	}
	return testutil.Visit(p.t, conn, testutil.Options{Path: u.Path}, resume)
}

// expectStatus pushes a message to a page.
func expectStatus(t *testing.T, address, message string, want int) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path += "/@connections/" + u.User.Username()
	u.User = nil
	if got := push(t, u.String(), message); got != want {
		t.Errorf("pushing %q is answered %d, want %d", message, got, want)
	}
}

// A page whose worker is told to stop comes back at another one, and gets what was pushed meanwhile. Its worker does not wait any longer then.
func TestReplaced(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a whole network of loopback addresses")
	}
	var port string
	testutil.Eventually(t, "a port that is free at both addresses", func() bool {
		one, err := net.Listen("tcp", "127.0.0.2:0")
		if err != nil {
			t.Fatal(err)
		}
		defer one.Close()
		_, port, _ = net.SplitHostPort(one.Addr().String())
		other, err := net.Listen("tcp", "127.0.0.3:"+port)
		if err == nil {
			other.Close()
		}
		return err == nil
	})
	const peers, grace = "-peers=127.0.0.2,127.0.0.3", time.Minute
	before := launch(t, "-push=127.0.0.2:"+port, "-advertise=127.0.0.2", peers, "-delay=0", "-drain=0", "-grace="+grace.String())
	after := launch(t, "-push=127.0.0.3:"+port, "-advertise=127.0.0.3", peers, "-delay=0", "-drain=0", "-grace=5s")
	page := before.visit("")
	expectStatus(t, page.Hello.Address, "connected", http.StatusNoContent)
	page.Want("connected")
	before.signal()
	if code, reason := page.End(); code != 1012 {
		t.Errorf("the page is closed with %d %q", code, reason)
	}
	expectStatus(t, page.Hello.Address, "away", http.StatusAccepted)
	back := after.visit(page.Ticket())
	if !back.Hello.Resumed || back.Hello.Missed != 0 || !strings.Contains(back.Hello.Address, "127.0.0.3") {
		t.Fatalf("the page comes back, and gets %s", back.Hello.Raw)
	}
	back.Want("away")
	expectStatus(t, back.Hello.Address, "back", http.StatusNoContent)
	back.Want("back")
	before.expectExit(grace / 2)
	expectStatus(t, back.Hello.Address, "and still", http.StatusNoContent)
	back.Want("and still")
	back.Close()
}

// A worker that is alone leaves its sessions to the next start, at the same addresses.
func TestSessionFile(t *testing.T) {
	t.Parallel()
	file := "-session-file=" + filepath.Join(t.TempDir(), "sessions")
	before := launch(t, "-advertise=127.0.0.1", file, "-delay=0", "-drain=0")
	page := before.visit("")
	before.signal()
	if code, reason := page.End(); code != 1012 {
		t.Errorf("the page is closed with %d %q", code, reason)
	}
	before.expectExit(10 * time.Second)
	after := launch(t, "-advertise=127.0.0.1", file, "-delay=0", "-drain=0")
	expectStatus(t, page.Hello.Address, "away", http.StatusAccepted)
	back := after.visit(page.Ticket())
	if !back.Hello.Resumed || back.Hello.Address != page.Hello.Address {
		t.Fatalf("the page comes back, and gets %s", back.Hello.Raw)
	}
	back.Want("away")
	back.Close()
}
