package snippets

import (
	"crypto/rand"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// One process: a push listener on loopback, and the application's own server.
func TestOneProcess(t *testing.T) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	c := dialClient(t, serveFor(t, mux)+"/ws")
	address := c.next()
	if !strings.Contains(address, "@127.0.0.1:") {
		t.Errorf("the greeting is %q", address)
	}
	if got := postText(t, address, "123"); got != http.StatusNoContent || c.next() != "123" {
		t.Errorf("answered %d", got)
	}
}

// In a container whose port is reached under another name.
func TestAdvertised(t *testing.T) {
	t.Setenv("PUSH_ADDRESS", "192.0.2.7:31090")
	t.Setenv("PUSH_LISTEN", "127.0.0.1:0")
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		Listen:    os.Getenv("PUSH_LISTEN"),            // in the container, such as :9090
		Advertise: []string{os.Getenv("PUSH_ADDRESS")}, // where publishers reach it, such as 192.0.2.7:31090
	})
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := dialClient(t, serveFor(t, handler)+"/ws").next(); !strings.HasSuffix(got, "@192.0.2.7:31090/ws") {
		t.Errorf("the greeting is %q", got)
	}
}

// Behind one public name: whichever worker takes the push, it arrives.
func TestBehindOneName(t *testing.T) {
	t.Setenv("PUSH_TOKEN", "secret")
	t.Setenv("POD_IP", "127.0.0.1")
	t.Setenv("PUSH_LISTEN", "127.0.0.1:0")
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	var urls [2]string
	for i := range urls {
		worker, err := wspush.NewWorker(&wspush.WorkerOptions{
			Listen:        os.Getenv("PUSH_LISTEN"),                     // where the other workers reach this one, such as :9090,
			Advertise:     []string{os.Getenv("POD_IP")},                // and under which address
			Cluster:       &wspush.Cluster{Keys: [][]byte{key}},         // the same on every worker, at least 32 random bytes
			PublicURL:     "https://push.example.com",                   // what the greeting names
			AuthorizePush: wspush.BearerTokens(os.Getenv("PUSH_TOKEN")), // the push endpoint is as public as the page
		})
		if err != nil {
			t.Fatal(err)
		}
		shutdownAfter(t, worker)
		handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		mux.Handle("/ws", handler)
		mux.Handle("/ws/@connections", worker)  // many messages in one request
		mux.Handle("/ws/@connections/", worker) // one
		mux.Handle("/ws/@users/", worker)       // users and groups
		mux.Handle("/ws/@groups/", worker)
		urls[i] = serveFor(t, mux)
	}
	c := dialClient(t, urls[0]+"/ws")
	address, ok := strings.CutPrefix(c.next(), "https://push.example.com")
	if !ok {
		t.Fatalf("the greeting is %q", address)
	}
	for _, url := range urls {
		if got := postText(t, url+address, "123"); got != http.StatusUnauthorized {
			t.Errorf("without a token, it is answered %d", got)
		}
		if got := postWith(t, url+address, "Authorization", "Bearer secret"); got != http.StatusNoContent {
			t.Errorf("answered %d", got)
		} else if got := c.next(); got != "" {
			t.Errorf("received %q", got)
		}
		if got := postWith(t, url+"/ws/@users/nobody", "Authorization", "Bearer secret"); got != http.StatusGone {
			t.Errorf("a push to nobody is answered %d", got)
		}
	}
}
