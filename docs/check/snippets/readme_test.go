package snippets

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	wspushjs "github.com/wspush/wspush/client"
	"github.com/wspush/wspush/publisher"
)

// within bounds each wait of these tests.
const within = 20 * time.Second

// newApplication mounts a handler at /ws of a mux, and serves it.
func newApplication(t *testing.T) (worker *wspush.Worker, mux *http.ServeMux, url string) {
	t.Helper()
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux = http.NewServeMux()
	mux.Handle("/ws", handler)
	return worker, mux, serveFor(t, mux)
}

// receives fails the test unless that is the client's next message.
func receives(t *testing.T, client *pageClient, want string) {
	t.Helper()
	if got := client.next(); got != want {
		t.Errorf("the client receives %q, want %q", got, want)
	}
}

// post fails the test unless a push is answered 204.
func post(t *testing.T, address, text string) {
	t.Helper()
	if status := postText(t, address, text); status != http.StatusNoContent {
		t.Fatalf("a push is answered %d", status)
	}
}

// The complete program, on another port: it is built as it stands but for that.
func TestHello(t *testing.T) {
	const port = "127.0.0.1:8000"
	source, err := os.ReadFile("hello/main.go")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(source), port) {
		t.Fatalf("the program does not listen on %s", port)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	l.Close()

	dir := t.TempDir()
	changed, overlay, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "hello")
	original, err := filepath.Abs("hello/main.go")
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(changed, []byte(strings.ReplaceAll(string(source), port, free)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, replace, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", program, "./hello").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, in := io.Pipe()
	defer out.Close()
	startProgramTo(t, in, program)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, "http://"+free+"/") {
		t.Errorf("the program's first line is %q (%v), and does not say where it serves", line, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); ; <-tick.C {
		if conn, err := net.Dial("tcp", free); err == nil {
			conn.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	client := dialClient(t, "http://"+free+"/ws")
	post(t, client.next(), "Your order has shipped")
	receives(t, client, "Your order has shipped")
}

// Pages in Chromium: that of README.md, which hands its address to the backend, and that of docs/security.md, which never learns it. Both load what they
// show only once they can be pushed to, and then show what is pushed.
func TestPage(t *testing.T) {
	need(t, "chromium")
	t.Run("told its address", func(t *testing.T) {
		worker, err := wspush.NewWorker(nil)
		if err != nil {
			t.Fatal(err)
		}
		shutdownAfter(t, worker)
		handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{ResumeWindow: 2 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		p := openPage(t, "index.html", handler)
		address := p.wait(t, p.addresses, "the page sends no address")
		if when := p.wait(t, p.loads, "the page loads nothing"); when != "with its address stored" {
			t.Errorf("the page loads what it shows %s", when)
		}
		post(t, address, "Your order has shipped")
		if text := p.wait(t, p.shown, "the page does not show what is pushed to it"); text != "Your order has shipped" {
			t.Errorf("the page shows %q", text)
		}
	})
	t.Run("not told", func(t *testing.T) {
		worker, err := wspush.NewWorker(nil)
		if err != nil {
			t.Fatal(err)
		}
		shutdownAfter(t, worker)
		addresses := &inMemory{changed: make(chan struct{}, 10)}
		handler, err := secretAddresses(worker, addresses)
		if err != nil {
			t.Fatal(err)
		}
		p := openPage(t, "secret.html", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.URL.RawQuery = "user=ada" // which a cookie says in earnest
			handler.ServeHTTP(w, r)
		}))
		select {
		case <-addresses.changed:
		case <-time.After(within):
			t.Fatal("the page does not connect")
		}
		p.wait(t, p.loads, "the page loads nothing")
		of, _ := addresses.of(t.Context(), "ada")
		for _, text := range []string{"the first message", "the second"} {
			post(t, of[0], text)
			if got := p.wait(t, p.shown, "the page swallows "+text); got != text {
				t.Errorf("the page shows %q in place of %q", got, text)
			}
		}
		select {
		case address := <-p.addresses:
			t.Errorf("the page knows %s", address)
		default:
		}
	})
}

// openedPage is what the backend gets of README.md's page.
type openedPage struct{ addresses, shown, loads chan string }

// openPage opens a page, whose WebSocket is the handler's, in a browser.
func openPage(t *testing.T, page string, ws http.Handler) *openedPage {
	p := &openedPage{make(chan string, 10), make(chan string, 10), make(chan string, 10)}
	var stored atomic.Bool
	keep := func(in chan<- string) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			in <- string(body)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", ws)
	mux.Handle("/wspush.js", wspushjs.Script())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "page/"+page) })
	mux.HandleFunc("PUT /session/push-address", func(w http.ResponseWriter, r *http.Request) {
		keep(p.addresses)(w, r)
		<-time.After(300 * time.Millisecond) // for a page that does not wait for the answer
		stored.Store(true)
	})
	mux.HandleFunc("GET /all", func(http.ResponseWriter, *http.Request) {
		if stored.Load() {
			p.loads <- "with its address stored"
		} else {
			p.loads <- "without a stored address"
		}
	})
	mux.HandleFunc("POST /shown", keep(p.shown))
	url := serveFor(t, mux)

	profile, err := os.MkdirTemp("", "wspush-docs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) }) // Chromium may still write
	startProgram(t, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
		"--user-data-dir="+profile, url+"/")
	return p
}

// wait returns what the backend gets next.
func (p *openedPage) wait(t *testing.T, from <-chan string, otherwise string) string {
	t.Helper()
	select {
	case text := <-from:
		return text
	case <-time.After(within):
		t.Fatal(otherwise)
		return ""
	}
}

// Another service pushes, and forgets an address that is gone.
func TestPublisher(t *testing.T) {
	worker, _, url := newApplication(t)
	browser := dialClient(t, url+"/ws")
	address := browser.next()
	ctx, data := t.Context(), []byte("Your order has shipped")
	var forgotten string
	forget := func(address string) { forgotten = address }

	client, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}}) // where the workers are, and nowhere else
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Push(ctx, address, publisher.Text, data); err != nil {
		t.Fatal(err)
	}
	receives(t, browser, "Your order has shipped")
	for conn := range worker.Conns() {
		if err := conn.Close(1000, ""); err != nil {
			t.Fatal(err)
		}
	}

	_, err = client.Push(ctx, address, publisher.Text, data)
	if errors.Is(err, publisher.ErrGone) {
		forget(address)
	}
	if forgotten != address {
		t.Errorf("a push to a client that has been closed: %v", err)
	}
}

// Code in the same process pushes.
func TestInProcess(t *testing.T) {
	worker, _, url := newApplication(t)
	one, other := dialClient(t, url+"/ws"), dialClient(t, url+"/ws")
	id, _, _ := strings.Cut(strings.TrimPrefix(one.next(), "http://"), "@")
	other.next() // once it has the greeting, it can be found
	data := []byte("Your order has shipped")
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()

	_, err := worker.Push(ctx, id, wspush.Text, data)
	if err != nil {
		t.Error(err)
	}
	for conn, err := range worker.PushEach(ctx, worker.Conns(), wspush.Text, data) {
		if err != nil {
			log.Print(conn, ": ", err)
		}
	}
	receives(t, one, "Your order has shipped")
	receives(t, one, "Your order has shipped")
	receives(t, other, "Your order has shipped")
}
