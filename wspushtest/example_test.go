package wspushtest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/publisher"
	"github.com/wspush/wspush/wspushtest"
)

// t belongs to the test that an example is part of. An example has none, so TestExamples runs the examples, one after the
// other.
var t *testing.T

var examples = map[string]func(){
	"Example":                        Example,
	"Example_fakeTime":               Example_fakeTime,
	"Example_network":                Example_network,
	"ExampleClient_ExpectNewSession": ExampleClient_ExpectNewSession,
	"ExampleClient_Reconnect":        ExampleClient_Reconnect,
	"ExampleCluster":                 ExampleCluster,
	"ExampleConnect":                 ExampleConnect,
	"ExampleConnect_greeting":        ExampleConnect_greeting,
	"ExampleDial":                    ExampleDial,
	"ExampleFakeWorker":              ExampleFakeWorker,
	"ExampleHTTPClient":              ExampleHTTPClient,
	"ExampleHTTPClient_signIn":       ExampleHTTPClient_signIn,
}

func TestExamples(test *testing.T) {
	for name, example := range examples {
		test.Run(name, func(test *testing.T) {
			t = test
			example()
		})
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		test.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`(?m)^func (Example\w*)\(\)`).FindAllSubmatch(source, -1) {
		if examples[string(match[1])] == nil {
			test.Errorf("%s is not run", match[1])
		}
	}
}

// A worker and a client in two lines. The code under test gets s.Worker, and c.ID or c.Address().
func Example() {
	s := wspushtest.New(t, nil)
	c := s.Connect()

	_, err := s.Worker.Push(t.Context(), c.ID, wspush.Text, []byte("Your order has shipped"))
	if err != nil {
		t.Fatal(err)
	}
	c.Expect("Your order has shipped")
}

// The application's own handler, with all its middleware.
func ExampleConnect() {
	worker := wspushtest.NewWorker(t, nil)
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) {
			user, err := r.Cookie("user") // a real application would use a session
			if err != nil {
				return nil, wspush.ErrUnauthorized
			}
			return user.Value, nil
		},
		OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
			_, _ = c.Push(c.Context(), typ, fmt.Appendf(nil, "%s: %s", c.Value(), data))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)

	ada := wspushtest.Connect(t, mux, "/ws", &wspushtest.ClientOptions{Header: http.Header{"Cookie": {"user=ada"}}})
	ada.Send("hello")
	ada.Expect("ada: hello")

	wspushtest.ExpectRefused(t, mux, "/ws", http.StatusUnauthorized, nil)
}

// A custom greeting is in Greeting. The client finds its ID where the application's page would.
func ExampleConnect_greeting() {
	type hello struct{ Push []string }
	s := wspushtest.New(t, &wspushtest.Options{Handler: wspush.HandlerOptions{
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			greeting, _ := json.Marshal(hello{c.PathAddresses()})
			return wspush.Text, greeting
		},
	}})
	c := s.Connect()

	var greeting hello
	if err := json.Unmarshal(c.Greeting.Data, &greeting); err != nil {
		t.Fatal(err)
	}
	resp, err := s.HTTPClient().Post(greeting.Push[0], "text/plain", strings.NewReader("Your order has shipped"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c.Expect("Your order has shipped")
}

// A page that loses its network, and comes back. What is pushed meanwhile is buffered.
func ExampleClient_Reconnect() {
	s := wspushtest.New(t, &wspushtest.Options{
		Handler: wspush.HandlerOptions{ResumeWindow: 2 * time.Minute},
		Client:  wspushtest.ClientOptions{Session: true}, // it speaks wspush.v1
	})
	c := s.Connect()

	c.Suspend(s.Worker)
	receipt, err := s.Worker.Push(t.Context(), c.ID, wspush.Text, []byte("Your order has shipped"))
	if err != nil || receipt.State != wspush.Buffered {
		t.Errorf("%+v, %v", receipt, err)
	}
	_, err = s.Worker.Push(t.Context(), c.ID, wspush.Text, []byte("The driver rings your bell"), wspush.Keep(0))
	if !errors.Is(err, wspush.ErrSuspended) {
		t.Errorf("a push that was not to be kept: %v", err)
	}

	c.Reconnect()
	c.Expect("Your order has shipped")
}

// A page whose machine is gone without a word comes back too late. The application learns what has not reached it.
func ExampleClient_ExpectNewSession() {
	synctest.Test(t, func(t *testing.T) {
		var mail []string
		s := wspushtest.New(t, &wspushtest.Options{
			Handler: wspush.HandlerOptions{
				ResumeWindow: 2 * time.Minute,
				PingInterval: 25 * time.Second, IdleTimeout: time.Minute,
				OnDisconnect: func(c *wspush.Conn, _ error) {
					for m := range c.Unconfirmed() {
						mail = append(mail, string(m.Data))
					}
				},
			},
			Client: wspushtest.ClientOptions{Session: true},
		})
		c := s.Connect()

		c.Vanish()
		<-time.After(time.Minute) // until the worker misses it
		s.Push(c, "Your order has shipped")
		<-time.After(2 * time.Minute)

		c.ExpectNewSession("expired")
		if len(mail) != 1 || mail[0] != "Your order has shipped" {
			t.Errorf("%q", mail)
		}
	})
}

// Users and groups are found through any worker of a Cluster.
func ExampleCluster() {
	cluster := wspushtest.NewCluster(t)
	byQuery := &wspushtest.Options{Handler: wspush.HandlerOptions{
		User: func(r *http.Request, _ any) string { return r.URL.Query().Get("user") }, // a real application would use a session
	}}
	first, second := cluster.New(byQuery), cluster.New(byQuery)
	phone := wspushtest.Connect(t, first.Handler, "/ws?user=ada", nil)
	laptop := wspushtest.Connect(t, second.Handler, "/ws?user=ada", nil)

	if _, err := first.Worker.User("ada").Push(t.Context(), wspush.Text, []byte("Your order has shipped")); err != nil {
		t.Fatal(err)
	}
	phone.Expect("Your order has shipped")
	laptop.Expect("Your order has shipped")

	cluster.StopDirectory()
	if _, err := first.Worker.User("ada").Push(t.Context(), wspush.Text, []byte("It has arrived")); !errors.Is(err, wspush.ErrDirectory) {
		t.Errorf("got %v", err)
	}
}

// What code that uses package publisher does about each outcome, without a worker or a client.
func ExampleFakeWorker() {
	var fake wspushtest.FakeWorker
	client, err := publisher.New(&publisher.Options{Hosts: []string{"worker.test"}, Dial: wspushtest.Dialer(t, &fake)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	address := "http://worker.test/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	notify := func(text string) error { // the code under test
		_, err := client.Push(t.Context(), address, publisher.Text, []byte(text))
		return err
	}

	fake.Buffer(2 * time.Minute) // for a client that is away
	if err := notify("Your order has shipped"); err != nil {
		t.Error(err)
	}
	fake.Refuse(t, publisher.ErrUnknown)
	if err := notify("It has arrived"); !errors.Is(err, publisher.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if got := fake.Pushes(); len(got) != 2 || string(got[1].Data) != "It has arrived" {
		t.Errorf("got %v", got)
	}
}

// Code that pushes over HTTP gets a client that reaches the worker in memory.
func ExampleHTTPClient() {
	s := wspushtest.New(t, nil)
	c := s.Connect()
	client := wspushtest.HTTPClient(t, s.Worker) // or s.HTTPClient()

	resp, err := client.Post(c.Address(), "text/plain", strings.NewReader("Your order has shipped"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("got %s", resp.Status)
	}
	c.Expect("Your order has shipped")
}

// The cookies that the application sets at sign-in also apply to the WebSocket.
func ExampleHTTPClient_signIn() {
	s := wspushtest.New(t, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s1"})
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("session"); err != nil {
			http.Error(w, "sign in first", http.StatusUnauthorized)
			return
		}
		s.Handler.ServeHTTP(w, r)
	})

	browser := wspushtest.HTTPClient(t, mux)
	resp, err := browser.Post("http://example.com/login", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c := wspushtest.Connect(t, mux, "http://example.com/ws", &wspushtest.ClientOptions{Jar: browser.Jar})
	s.PushAndExpect(c, "Welcome")
}

// In a testing/synctest bubble no time is lost waiting, so intervals can be tested as they are.
func Example_fakeTime() {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, &wspushtest.Options{
			Handler: wspush.HandlerOptions{PingInterval: 25 * time.Second, IdleTimeout: time.Minute},
		})
		c := s.Connect()
		time.AfterFunc(time.Minute, func() { s.Push(c, "Are you still there?") }) // the code under test

		c.ExpectNothing(time.Minute - time.Nanosecond)
		c.Expect("Are you still there?")
		if c.Pings() != 2 { // after 25 s and after 50 s
			t.Errorf("%d pings", c.Pings())
		}
	})
}

// With a listener, any process can push to the address.
func Example_network() {
	s := wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{Listen: "127.0.0.1:0"}})
	c := s.Connect()

	resp, err := http.Post(c.Address(), "text/plain", strings.NewReader("Your order has shipped"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	c.Expect("Your order has shipped")
}

// A client of a server that listens on the network.
func ExampleDial() {
	s := wspushtest.New(t, nil)
	server := httptest.NewServer(s.Handler)
	defer server.Close()

	c := wspushtest.Dial(t, server.URL+"/ws", nil)
	s.PushAndExpect(c, "Welcome")
}
