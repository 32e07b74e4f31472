package snippets

import (
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
	"testing"
	"time"

	"github.com/wspush/wspush"
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
	const port = "127.0.0.1:8080"
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
	startProgram(t, program)
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

// A page that hands its greeting to the backend and shows what is pushed to it, in Chromium.
func TestGreeting(t *testing.T) {
	need(t, "chromium")
	_, mux, url := newApplication(t)
	addresses, shown := make(chan string, 1), make(chan string, 1)
	keep := func(in chan<- string) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			select {
			case in <- string(body):
			default: // more than one is wrong, and shows in what comes of it
			}
		}
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "greeting/page.html") })
	mux.HandleFunc("PUT /session/push-address", keep(addresses))
	mux.HandleFunc("POST /shown", keep(shown))

	profile, err := os.MkdirTemp("", "wspush-docs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) }) // Chromium may still write
	startProgram(t, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
		"--user-data-dir="+profile, url+"/")
	late := time.After(within)
	select {
	case address := <-addresses:
		post(t, address, "Your order has shipped")
	case <-late:
		t.Fatal("the page sends no address")
	}
	select {
	case text := <-shown:
		if text != "Your order has shipped" {
			t.Errorf("the page shows %q", text)
		}
	case <-late:
		t.Fatal("the page does not show what is pushed to it")
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
