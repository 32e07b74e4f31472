package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// connect is a client, for the examples: it connects to a server's /ws.
func connect(server *httptest.Server) *websocket.Conn {
	client, _, err := websocket.Dial(context.Background(), server.URL+"/ws", nil)
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// next reads the next message.
func next(client *websocket.Conn) string {
	_, data, err := client.Read(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	return string(data)
}

// A client connects, gets its address as the first message, and anyone who has the address can push to the client.
func Example() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	handler, err := wspush.NewHandler(worker, &wspush.Options{PingInterval: 25 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	server := httptest.NewServer(mux)
	defer server.Close()

	client := connect(server)
	defer client.CloseNow()
	address := next(client)

	resp, err := http.Post(address, "text/plain", strings.NewReader("Your order has shipped"))
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()

	fmt.Println(resp.Status)
	fmt.Println(next(client))
	// Output:
	// 204 No Content
	// Your order has shipped
}

// Accept says who a client is, and may refuse it. OnMessage gets what the client sends; this one is an echo.
func ExampleNewHandler() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	handler, err := wspush.NewHandler(worker, &wspush.Options{
		Accept: func(r *http.Request) (any, error) {
			user := r.URL.Query().Get("user") // in earnest: from the session that a middleware has checked
			if user == "" {
				return nil, errors.New("not signed in")
			}
			return user, nil
		},
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			return wspush.Text, fmt.Appendf(nil, "Hello, %s", c.Value())
		},
		OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
			if err := c.Push(c.Context(), typ, data); err != nil {
				log.Print(err)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	client, _, err := websocket.Dial(context.Background(), server.URL+"?user=ada", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseNow()
	fmt.Println(next(client))
	client.Write(context.Background(), websocket.MessageText, []byte("Is anybody there?"))
	fmt.Println(next(client))

	_, resp, _ := websocket.Dial(context.Background(), server.URL, nil)
	fmt.Println(resp.Status)
	// Output:
	// Hello, ada
	// Is anybody there?
	// 403 Forbidden
}

// What a publisher in the same process does with each outcome.
func ExampleWorker_Push() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())

	id := "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed" // of a client that has left
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch err := worker.Push(ctx, id, wspush.Text, []byte("Your order has shipped")); {
	case err == nil:
		fmt.Println("written")
	case errors.Is(err, wspush.ErrUnknown):
		fmt.Println("may have been written: do not send it again unless twice is better than never")
	case errors.Is(err, wspush.ErrGone):
		fmt.Println("not written, and never will be under this ID: forget it, send a mail")
	default:
		fmt.Println("not written:", err)
	}
	// Output:
	// not written, and never will be under this ID: forget it, send a mail
}

// The same message to everyone; to some of them, filter Conns.
func ExampleWorker_PushEach() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	var clients []*websocket.Conn
	for range 3 {
		client := connect(server)
		defer client.CloseNow()
		next(client) // once it has the greeting, it can be found
		clients = append(clients, client)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for conn, err := range worker.PushEach(ctx, worker.Conns(), wspush.Text, []byte("Closing in five minutes")) {
		if err != nil {
			log.Print(conn.RemoteAddr(), ": ", err)
		}
	}
	for _, client := range clients {
		fmt.Println(next(client))
	}
	// Output:
	// Closing in five minutes
	// Closing in five minutes
	// Closing in five minutes
}

// The forms of a connection's addresses: the first for curl and for the greeting, the second for every HTTP client.
func ExampleConn_URLs() {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{Advertise: []string{"push-3.internal:9000"}})
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	client := connect(server)
	defer client.CloseNow()
	next(client)

	for conn := range worker.Conns() {
		fmt.Println(strings.ReplaceAll(conn.Addresses()[0], conn.ID(), "ID"))
		fmt.Println(strings.ReplaceAll(conn.URLs()[0], conn.ID(), "ID"))
	}
	// Output:
	// http://ID@push-3.internal:9000/ws
	// http://push-3.internal:9000/ws/@connections/ID
}

// An application that serves the push endpoint itself, under a prefix on its own server, and needs no push listener.
func ExampleWorker_ServeHTTP() {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		NoListen:  true,
		Advertise: []string{"https://app-3.example.com/push"},
		AuthorizePush: func(r *http.Request) error { // the server is public: the ID alone is not enough
			if r.Header.Get("X-Push-Token") != "secret" {
				return errors.New("no token")
			}
			return nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	mux := http.NewServeMux()
	mux.Handle("/push/", http.StripPrefix("/push", worker))
	server := httptest.NewServer(mux)
	defer server.Close()

	resp, err := http.Post(server.URL+"/push/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "text/plain", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	http.DefaultClient.CloseIdleConnections()
	fmt.Println(resp.Status)
	// Output:
	// 401 Unauthorized
}

// Shutdown closes the clients, who reconnect to another worker. http.Server.Shutdown does not know of them.
func ExampleWorker_Shutdown() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, &wspush.Options{
		OnDisconnect: func(_ *wspush.Conn, reason error) { fmt.Println(reason) },
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	client := connect(server)
	next(client)
	go client.Read(context.Background()) // a browser answers the close frame

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := worker.Shutdown(ctx); err != nil { // first
		fmt.Println(err)
	}
	server.Config.Shutdown(ctx) // then the application's server
	// Output:
	// wspush: connection ended: shutdown (1012) "service restart"
}
