package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// start runs the program on its own port until the test ends, and returns its URL.
func start(t *testing.T, args ...string) (url string) {
	t.Helper()
	testutil.NoLeak(t)
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"-listen", "0"}, args...), w)
		w.Close()
		ended <- err
	}()
	output := bufio.NewReader(r)
	line, err := output.ReadString('\n')
	var copied sync.WaitGroup
	copied.Go(func() { _, _ = io.Copy(t.Output(), output) })
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		copied.Wait()
	})
	if _, scanErr := fmt.Sscanf(line, "Serving %s", &url); scanErr != nil {
		t.Fatalf("the first line is %q (%v)", line, err)
	}
	return strings.TrimSuffix(url, "/")
}

// startWorker runs a worker with an application's server; stop stops both.
func startWorker(t *testing.T, opts wspush.WorkerOptions) (worker *wspush.Worker, url string, stop func()) {
	t.Helper()
	worker, err := wspush.NewWorker(&opts)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	server := httptest.NewServer(mux)
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := worker.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		server.Close()
	})
	t.Cleanup(stop)
	return worker, server.URL, stop
}

// connect connects a client, and returns its address.
func connect(t *testing.T, url string) (*testutil.Client, string) {
	t.Helper()
	c := testutil.Dial(t, url+"/ws", testutil.Options{})
	return c, c.Text()
}

// do sends a request to the service and expects a status, and a text in the body.
func do(t *testing.T, method, url, body string, want int, in string) http.Header {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != want || !strings.Contains(string(answer), in) {
		t.Errorf("%s %s is answered %d %s, want %d %s", method, url, resp.StatusCode, answer, want, in)
	}
	return resp.Header
}

// A message goes to all of the user's devices and to nobody else's. Those that have left are forgotten.
func TestMessages(t *testing.T) {
	_, workerURL, _ := startWorker(t, wspush.WorkerOptions{})
	url := start(t)
	alice := url + "/users/alice"
	do(t, "POST", alice+"/messages", "hello", 404, "no address")
	phone, phoneAddress := connect(t, workerURL)
	laptop, laptopAddress := connect(t, workerURL)
	bob, bobAddress := connect(t, workerURL)
	do(t, "PUT", alice+"/address", phoneAddress, 204, "")
	do(t, "PUT", alice+"/address", laptopAddress+"\n", 204, "") // as echo and curl send it
	do(t, "PUT", alice+"/address", laptopAddress, 204, "")      // not a third device
	do(t, "PUT", url+"/users/b%2Fob/address", bobAddress, 204, "")
	do(t, "POST", alice+"/messages", "grüße", 200, `{"written":2,"gone":0,"later":0,"unknown":0,"refused":0}`)
	phone.Expect(testutil.Text, "grüße")
	laptop.Expect(testutil.Text, "grüße")
	do(t, "POST", url+"/users/b%2Fob/messages", "for you", 200, `"written":1`)
	bob.Expect(testutil.Text, "for you")

	do(t, "POST", alice+"/messages", "\xff", 400, "UTF-8")
	do(t, "POST", alice+"/messages", strings.Repeat("x", maxMessage+1), 413, "")
	phone.SendClose(1000, "")
	phone.AwaitClose()
	do(t, "POST", alice+"/messages", "one left", 200, `{"written":1,"gone":1,`)
	laptop.Expect(testutil.Text, "one left")
	do(t, "POST", alice+"/messages", "forgotten", 200, `{"written":1,"gone":0,`)
	laptop.Expect(testutil.Text, "forgotten")
	do(t, "PUT", alice+"/address", phoneAddress, 410, "gone")
	laptop.SendClose(1000, "")
	laptop.AwaitClose()
	do(t, "POST", alice+"/messages", "nobody left", 410, "left")
	do(t, "POST", alice+"/messages", "nobody known", 404, "no address")
}

// Addresses that lead elsewhere are refused when put, and nothing is sent there.
func TestForeignAddresses(t *testing.T) {
	worker, workerURL, _ := startWorker(t, wspush.WorkerOptions{})
	url := start(t, "-workers", worker.Addr().String()) // and no other port
	foreign := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("asked for %s", r.URL)
	}))
	t.Cleanup(foreign.Close)
	_, address := connect(t, workerURL)
	for _, bad := range []string{
		"", "alice", "http://" + worker.Addr().String() + "/admin",
		strings.Replace(address, worker.Addr().String(), foreign.Listener.Addr().String(), 1),
		strings.Replace(address, "127.0.0.1", "localhost", 1),
		"http://evil.example/ws/@connections/" + address[len("http://"):len("http://")+36],
		strings.Replace(address, "http:", "file:", 1),
		address + "?confirm=received",
	} {
		do(t, "PUT", url+"/users/alice/address", bad, 400, "not one of the workers'")
	}
	do(t, "PUT", url+"/users/alice/address", strings.Repeat("x", maxAddress+1), 413, "")
	do(t, "PUT", url+"/users/"+strings.Repeat("x", maxUser+1)+"/address", address, 400, "too long")
	do(t, "POST", url+"/users/alice/messages", "hello", 404, "no address")
}

// A worker that is down may come back; once restarted, it knows nobody.
func TestWorkerRestarts(t *testing.T) {
	worker, workerURL, stop := startWorker(t, wspush.WorkerOptions{})
	url := start(t)
	client, address := connect(t, workerURL)
	do(t, "PUT", url+"/users/alice/address", address, 204, "")
	do(t, "POST", url+"/users/alice/messages", "hello", 200, `"written":1`)
	client.Expect(testutil.Text, "hello")
	stop()
	for range 2 {
		if h := do(t, "POST", url+"/users/alice/messages", "hello", 503, "later"); h.Get("Retry-After") != "2" {
			t.Errorf("Retry-After: %q", h.Get("Retry-After"))
		}
	}
	do(t, "PUT", url+"/users/alice/address", address, 503, "does not answer")

	_, workerURL, _ = startWorker(t, wspush.WorkerOptions{Listen: worker.Addr().String()})
	do(t, "POST", url+"/users/alice/messages", "hello", 410, "left")
	do(t, "POST", url+"/users/alice/messages", "hello", 404, "no address")
	client, address = connect(t, workerURL)
	do(t, "PUT", url+"/users/alice/address", address, 204, "")
	do(t, "POST", url+"/users/alice/messages", "back again", 200, `"written":1`)
	client.Expect(testutil.Text, "back again")
}

// Workers that require a token get the one in the environment.
func TestToken(t *testing.T) {
	_, workerURL, _ := startWorker(t, wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens("s3cret")})
	client, address := connect(t, workerURL)
	t.Setenv("PUSH_TOKEN", "s3cret")
	url := start(t)
	do(t, "PUT", url+"/users/alice/address", address, 204, "")
	do(t, "POST", url+"/users/alice/messages", "hello", 200, `"written":1`)
	client.Expect(testutil.Text, "hello")
}

// Each possible answer of a worker, and what the service makes of it. Only 410 makes it forget the address.
func TestAnswers(t *testing.T) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	for _, test := range []struct {
		status     int
		kind       string
		want       int
		retryAfter string
		then       int // for the same message, once the worker accepts it
	}{
		{410, "gone", 410, "", 404},
		{429, "busy", 503, "7", 200},
		{503, "shutdown", 503, "7", 200},
		{503, "full", 503, "7", 200},
		{502, "unreachable", 503, "7", 200},
		{504, "unknown", 504, "", 200},
		{413, "too-large", 413, "", 200},
		{403, "forbidden", 502, "", 200},
	} {
		t.Run(test.kind, func(t *testing.T) {
			var answer atomic.Int64
			answer.Store(int64(test.status))
			worker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == "GET":
					fmt.Fprintf(w, `{"connectionId":%q}`, id)
				case answer.Load() == 204:
					w.WriteHeader(204)
				default:
					w.Header().Set("Content-Type", "application/problem+json")
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(test.status)
					fmt.Fprintf(w, `{"type":"urn:wspush:%s","status":%d}`, test.kind, test.status)
				}
			}))
			t.Cleanup(worker.Close)
			url := start(t)
			do(t, "PUT", url+"/users/alice/address", worker.URL+"/ws/@connections/"+id, 204, "")
			if h := do(t, "POST", url+"/users/alice/messages", "hello", test.want, ""); h.Get("Retry-After") != test.retryAfter {
				t.Errorf("Retry-After: %q, want %q", h.Get("Retry-After"), test.retryAfter)
			}
			answer.Store(204)
			do(t, "POST", url+"/users/alice/messages", "hello", test.then, "")
		})
	}
}

// An address outlives a mistake in the service's own settings: a start with other -workers loses nobody.
func TestOtherWorkers(t *testing.T) {
	_, workerURL, _ := startWorker(t, wspush.WorkerOptions{})
	client, address := connect(t, workerURL)
	addresses := newInMemory()
	if err := addresses.Set(t.Context(), "alice", address, true); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		workers string
		want    int
		answer  string
	}{{"10.0.0.5", 502, "see -workers"}, {"127.0.0.1", 200, `"written":1`}} {
		c, err := publisher.New(&publisher.Options{Hosts: []string{test.workers}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		server := httptest.NewServer((&service{addresses: addresses, client: c, log: slog.New(slog.DiscardHandler)}).handler())
		t.Cleanup(server.Close)
		do(t, "POST", server.URL+"/users/alice/messages", "hello", test.want, test.answer)
	}
	client.Expect(testutil.Text, "hello")
}

// Only the latest addresses are kept, up to a limit.
func TestInMemory(t *testing.T) {
	m, ctx := newInMemory(), context.Background()
	set := func(user, address string, valid bool) {
		t.Helper()
		if err := m.Set(ctx, user, address, valid); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for i := range maxDevices + 4 {
		address := fmt.Sprint("address ", i)
		set("alice", address, true)
		want = append(want, address)
	}
	want = want[4:]
	got, _ := m.Of(ctx, "alice")
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got[0] = "changed by the caller"
	set("alice", want[3], false)
	set("alice", "never set", false)
	set("bob", "never set", false)
	if got, _ := m.Of(ctx, "alice"); len(got) != maxDevices-1 || slices.Contains(got, want[3]) || got[0] != want[0] {
		t.Errorf("one less: %q", got)
	}
	for _, address := range want {
		set("alice", address, false)
	}
	if len(m.users) != 0 {
		t.Errorf("users without an address are kept: %v", m.users)
	}
	for i := range maxUsers {
		m.users[fmt.Sprint(i)] = []string{"a"}
	}
	if err := m.Set(ctx, "one more", "b", true); !errors.Is(err, errFull) {
		t.Errorf("one user too many: %v", err)
	}
	set("7", "b", true)
}

func TestBadArguments(t *testing.T) {
	testutil.NoLeak(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // ends the program at once if it is not refused
	for _, args := range [][]string{
		{"-nonsense"},
		{"argument"},
		{"-workers", ""},
		{"-workers", "http://127.0.0.1/"},
		{"-workers", "127.0.0.1,,10.0.0.5"},
		{"-listen", "127.0.0.1:99999"},
	} {
		if err := run(ctx, append([]string{"-listen", "0"}, args...), io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
