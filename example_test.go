package wspush_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// A client connects, gets its address as the first message, and anyone who has the address can push to the client.
func Example() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	server := httptest.NewServer(mux)
	defer server.Close()

	client, _, err := websocket.Dial(context.Background(), server.URL+"/ws", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseNow()
	address := next(client)

	resp, err := http.Post(address, "text/plain", strings.NewReader("Your order has shipped"))
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()

	fmt.Println(resp.Status)
	fmt.Println(next(client))
	// Output:
	// 204 No Content
	// Your order has shipped
}

// app is what the other examples begin with: an application that has a Worker, and a Handler mounted at /ws, as above.
type app struct {
	worker *wspush.Worker
	server *httptest.Server
}

// startApp starts an application.
func startApp(options *wspush.HandlerOptions, workerOptions *wspush.WorkerOptions) *app {
	worker, err := wspush.NewWorker(workerOptions)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, options)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	return &app{worker: worker, server: httptest.NewServer(mux)}
}

// stop stops it, and closes its clients.
func (a *app) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := a.worker.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	a.server.Close()
}

// connect connects a client, which has read its greeting: then it can be pushed to.
func (a *app) connect() *websocket.Conn {
	client, _, err := websocket.Dial(context.Background(), a.server.URL+"/ws", nil)
	if err != nil {
		log.Fatal(err)
	}
	next(client)
	return client
}

// next returns the next message that a client gets.
func next(client *websocket.Conn) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, data, err := client.Read(ctx)
	if err != nil {
		log.Fatal(err)
	}
	return string(data)
}
