package wspush_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// Two mounts with settings of their own, which share the worker: what can be pushed to is all in one place.
func ExampleNewHandler() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	browsers, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	devices, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: -1, IdleTimeout: 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", browsers)
	mux.Handle("/devices/{kind}", devices)
	server := httptest.NewServer(mux)
	defer server.Close()

	client, _, err := websocket.Dial(context.Background(), server.URL+"/devices/meter", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseNow()
	next(client)
	for conn := range worker.Conns() {
		fmt.Println(conn.Info().Path)
	}
	// Output:
	// /devices/meter
}

// userKey is the key of a request's user in its context.
type userKey struct{}

// signedIn is an application's middleware: it lets nobody through who has no session.
func signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, err := r.Cookie("session")
		if err != nil || session.Value != "4711" { // in earnest: looked up
			http.Error(w, "please sign in", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, "ada")))
	})
}

// Authentication is that of the application: the Handler stands behind its middleware, and Accept takes over what that has found
// out. ErrUnauthorized refuses the client with 401.
func ExampleOptions_accept() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) {
			user, ok := r.Context().Value(userKey{}).(string)
			if !ok {
				return nil, wspush.ErrUnauthorized
			}
			return user, nil // from now on Conn.Value
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(signedIn(handler))
	defer server.Close()

	_, resp, _ := websocket.Dial(context.Background(), server.URL, nil)
	fmt.Println("without a session:", resp.Status)

	client, _, err := websocket.Dial(context.Background(), server.URL, &websocket.DialOptions{
		HTTPHeader: http.Header{"Cookie": {"session=4711"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseNow()
	next(client)
	for conn := range worker.Conns() {
		fmt.Println("connected:", conn.Value())
	}
	// Output:
	// without a session: 401 Unauthorized
	// connected: ada
}

// A greeting of one's own, for a client that speaks JSON. Where clients have no use for their addresses, return no bytes.
func ExampleOptions_greeting() {
	app := startApp(&wspush.HandlerOptions{
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			data, err := json.Marshal(map[string]any{"event": "welcome", "addresses": c.PathAddresses()})
			if err != nil {
				return wspush.Text, nil
			}
			return wspush.Text, data
		},
	}, nil)
	defer app.stop()

	client, _, err := websocket.Dial(context.Background(), app.server.URL+"/ws", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseNow()
	var greeting struct {
		Event     string
		Addresses []string
	}
	if err := json.Unmarshal([]byte(next(client)), &greeting); err != nil {
		log.Fatal(err)
	}
	fmt.Println(greeting.Event, len(greeting.Addresses))
	// Output:
	// welcome 1
}

// The application stores which user has which address, for as long as it is one, so that nobody has to trust what a browser says.
// Anyone who can read the store can push, from any process. In production it is a database, and a user has several devices.
func ExampleOptions_onConnect() {
	var addresses sync.Map // by user
	ready := make(chan bool)
	app := startApp(&wspush.HandlerOptions{
		Accept:   func(*http.Request) (any, error) { return "ada", nil },
		Greeting: func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte("hello") },
		OnConnect: func(c *wspush.Conn) {
			addresses.Store(c.Value(), c.PathAddresses()[0])
			close(ready)
		},
		OnDisconnect: func(c *wspush.Conn, _ error) {
			addresses.CompareAndDelete(c.Value(), c.PathAddresses()[0]) // unless there is a newer one
		},
	}, nil)
	defer app.stop()
	client := app.connect()
	defer client.CloseNow()
	<-ready

	// Elsewhere:
	if address, ok := addresses.Load("ada"); ok {
		resp, err := http.Post(address.(string), "text/plain", strings.NewReader("Your order has shipped"))
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusGone {
			addresses.CompareAndDelete("ada", address)
		}
	}
	fmt.Println(next(client))
	// Output:
	// Your order has shipped
}

// Messages from the client come one at a time. This application echoes them; the connection's context ends when it does.
func ExampleOptions_onMessage() {
	app := startApp(&wspush.HandlerOptions{
		OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
			if _, err := c.Push(c.Context(), typ, data); err != nil {
				log.Print(err)
			}
		},
	}, nil)
	defer app.stop()
	client := app.connect()
	defer client.CloseNow()

	if err := client.Write(context.Background(), websocket.MessageText, []byte("Is anybody there?")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(next(client))
	// Output:
	// Is anybody there?
}

// Why a connection has ended.
func ExampleCloseError() {
	ended := make(chan *wspush.CloseError, 1)
	app := startApp(&wspush.HandlerOptions{
		OnDisconnect: func(_ *wspush.Conn, reason error) {
			var e *wspush.CloseError
			if errors.As(reason, &e) {
				ended <- e
			}
		},
	}, nil)
	defer app.stop()

	client := app.connect()
	if err := client.Close(websocket.StatusGoingAway, "next page"); err != nil {
		log.Fatal(err)
	}
	reason := <-ended
	fmt.Println(reason.Cause == wspush.CauseClient, reason.Code, reason.Reason)
	// Output:
	// true 1001 next page
}
