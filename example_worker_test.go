package wspush_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// A publisher in the same process pushes by ID, and learns what has become of each message.
func ExampleWorker_Push() {
	ids := make(chan string, 1)
	app := startApp(&wspush.HandlerOptions{OnConnect: func(c *wspush.Conn) { ids <- c.ID() }}, nil)
	defer app.stop()
	client := app.connect()
	defer client.CloseNow()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	left := "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed" // the ID of a client that has left
	for _, id := range []string{<-ids, left} {
		switch _, err := app.worker.Push(ctx, id, wspush.Text, []byte("Your order has shipped")); {
		case err == nil:
			fmt.Println("written")
		case errors.Is(err, wspush.ErrUnknown):
			fmt.Println("may have been written: do not send it again unless twice is better than never")
		case errors.Is(err, wspush.ErrGone):
			fmt.Println("not written, and never will be under this ID: forget it, send a mail")
		default:
			fmt.Println("not written:", err)
		}
	}
	fmt.Println(next(client))
	// Output:
	// written
	// not written, and never will be under this ID: forget it, send a mail
	// Your order has shipped
}

// A push that matters waits until the client has read it. The client needs no code for that: its WebSocket library answers.
func ExampleConfirmed() {
	ids := make(chan string, 1)
	app := startApp(&wspush.HandlerOptions{OnConnect: func(c *wspush.Conn) { ids <- c.ID() }}, nil)
	defer app.stop()
	client := app.connect()
	go func() { // a client that always reads, as a browser does
		for {
			_, data, err := client.Read(context.Background())
			if err != nil {
				return
			}
			fmt.Printf("the client reads %q\n", data)
		}
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	receipt, err := app.worker.Push(ctx, <-ids, wspush.Text, []byte("Please leave the building"), wspush.Confirmed())
	fmt.Println(receipt.State, receipt.RoundTrip > 0, err)
	// Output:
	// the client reads "Please leave the building"
	// received true <nil>
}

// The same message to everyone; to some of them, filter Conns.
func ExampleWorker_PushEach() {
	app := startApp(nil, nil)
	defer app.stop()
	var clients []*websocket.Conn
	for range 3 {
		clients = append(clients, app.connect())
	}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for conn, err := range app.worker.PushEach(ctx, app.worker.Conns(), wspush.Text, []byte("Closing in five minutes")) {
		if err != nil {
			log.Print(conn, ": ", err)
		}
	}
	for _, client := range clients {
		fmt.Println(next(client))
		client.CloseNow()
	}
	// Output:
	// Closing in five minutes
	// Closing in five minutes
	// Closing in five minutes
}

// An application that serves the push endpoint itself, under a prefix on its own server, and needs no push listener.
func ExampleWorker_ServeHTTP() {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		NoListen:      true,
		Advertise:     []string{"https://app-3.example.com/push"},
		AuthorizePush: wspush.BearerTokens("secret"), // the server is public: the ID alone is not enough
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
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// 401 Unauthorized
}

// To stop, first the worker, which closes the clients, who connect to another; then the server, which does not know of them.
func ExampleWorker_Shutdown() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		OnDisconnect: func(_ *wspush.Conn, reason error) { fmt.Println(reason) },
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(handler)
	client, _, err := websocket.Dial(context.Background(), server.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	next(client)
	client.CloseRead(context.Background()) // answers the close frame, as a browser does

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := worker.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	if err := server.Config.Shutdown(ctx); err != nil {
		log.Print(err)
	}
	// Output:
	// wspush: connection ended: shutdown (1012) "service restart"
}

// Publishers need a bearer token as well as an address. Two are for the time in which the old one is being replaced.
func ExampleBearerTokens() {
	app := startApp(nil, &wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens("old secret", "new secret")})
	defer app.stop()
	client := app.connect()
	defer client.CloseNow()

	for conn := range app.worker.Conns() {
		for _, token := range []string{"", "new secret"} {
			req, err := http.NewRequest(http.MethodPost, conn.PathAddresses()[0], strings.NewReader("Your order has shipped"))
			if err != nil {
				log.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				log.Fatal(err)
			}
			resp.Body.Close()
			fmt.Println(resp.Status)
		}
	}
	// Output:
	// 401 Unauthorized
	// 204 No Content
}

// Workers that share keys can each push to the clients of all, by sealed ID. By HTTP, a sealed ID stands where an ID can.
func ExampleCluster() {
	key := make([]byte, 32) // in earnest: the same in each process, from where secrets are kept
	rand.Read(key)
	one := startApp(nil, &wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: [][]byte{key}}})
	defer one.stop()
	other := startApp(nil, &wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: [][]byte{key}}})
	defer other.stop()

	client := one.connect()
	defer client.CloseNow()
	for conn := range one.worker.Conns() {
		_, err := other.worker.Push(context.Background(), conn.SealedID(), wspush.Text, []byte("Your order has shipped"))
		fmt.Println(err)
	}
	fmt.Println(next(client))
	// Output:
	// <nil>
	// Your order has shipped
}

// The forms of a connection's addresses: the first for curl and for the greeting, the second for every HTTP client.
func ExampleConn_PathAddresses() {
	app := startApp(nil, &wspush.WorkerOptions{Advertise: []string{"push-3.internal:9000"}})
	defer app.stop()
	client := app.connect()
	defer client.CloseNow()

	for conn := range app.worker.Conns() {
		fmt.Println(strings.ReplaceAll(conn.Addresses()[0], conn.ID(), "ID"))
		fmt.Println(strings.ReplaceAll(conn.PathAddresses()[0], conn.ID(), "ID"))
	}
	// Output:
	// http://ID@push-3.internal:9000/ws
	// http://push-3.internal:9000/ws/@connections/ID
}

// The application sends a client away, with a code of its own that the client's code knows.
func ExampleConn_Close() {
	app := startApp(nil, nil)
	defer app.stop()
	client := app.connect()

	for conn := range app.worker.Conns() {
		if err := conn.Close(4001, "signed in elsewhere"); err != nil {
			log.Print(err)
		}
	}
	_, _, err := client.Read(context.Background())
	fmt.Println(websocket.CloseStatus(err))
	// Output:
	// StatusCode(4001)
}

// A callback answers all clients without waiting for any: one that does not read holds nobody up.
func ExampleConn_Send() {
	var app *app
	app = startApp(&wspush.HandlerOptions{OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
		for other := range app.worker.Conns() {
			err := other.Send(context.Background(), typ, data, func(_ wspush.Receipt, err error) {
				if err != nil {
					log.Print(other, " did not get it: ", err)
				}
			})
			if errors.Is(err, wspush.ErrBusy) {
				_ = other.Close(1013, "too slow") // as much as MaxPending waits for it
			}
		}
	}}, nil)
	defer app.stop()
	alice, bob := app.connect(), app.connect()
	defer alice.CloseNow()
	defer bob.CloseNow()

	if err := alice.Write(context.Background(), websocket.MessageText, []byte("Anyone here?")); err != nil {
		log.Fatal(err)
	}
	fmt.Println(next(bob))
	// Output: Anyone here?
}
