package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"time"

	"github.com/wspush/wspush/publisher"
)

// pretend is a server that answers as a worker would for one connection that is there.
func pretend() (server *httptest.Server, address, gone string) {
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusGone)
			_, _ = io.WriteString(w, `{"type":"urn:wspush:gone","title":"Gone","status":410,"detail":"there is no such connection"}`)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Printf("the client gets: %s\n", body)
		w.Header().Set("Wspush-Rtt", "12.5")
		w.WriteHeader(http.StatusNoContent)
	}))
	return server, server.URL + "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", server.URL + "/ws/@connections/0f8fad5b-d9cb-469f-a165-70867728950e"
}

// One message to one browser.
func ExampleClient_Push() {
	server, address, gone := pretend()
	defer server.Close()
	client, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for _, address := range []string{address, gone, "http://169.254.169.254/latest/meta-data"} {
		_, err := client.Push(context.Background(), address, publisher.Text, []byte("Your order has shipped"))
		switch {
		case err == nil:
			fmt.Println("written")
		case errors.Is(err, publisher.ErrGone):
			fmt.Println("gone: forget the address")
		case errors.Is(err, publisher.ErrAddress):
			fmt.Println(err)
		}
	}
	// Output:
	// the client gets: Your order has shipped
	// written
	// gone: forget the address
	// wspush: the address is refused: it names no connection, as http://ID@HOST:PORT/PATH and http://HOST:PORT/PATH/@connections/ID do
}

// When it matters that the message has been read.
func ExampleConfirmed() {
	server, address, _ := pretend()
	defer server.Close()
	client, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	receipt, err := client.Push(ctx, address, publisher.Text, []byte("Please leave the building"), publisher.Confirmed())
	fmt.Println(receipt.RoundTrip, err)
	// Output:
	// the client gets: Please leave the building
	// 12.5ms <nil>
}

// Workers that are known by a rule.
func ExampleOptions() {
	client, err := publisher.New(&publisher.Options{
		Allow: func(u *url.URL) bool { return u.Scheme == "https" && u.Host == "push.example.com" },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	_, err = client.Push(context.Background(), "https://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@push.example.com.evil.example/ws", publisher.Text, nil)
	fmt.Println(err)
	// Output:
	// wspush: the address is refused: Options.Hosts, Prefixes and Allow allow no pushes to https://push.example.com.evil.example
}

// The same message to everybody.
func ExampleStream_PushEach() {
	// A fake, which answers as a worker would.
	server := httptest.NewServer(new(worker))
	defer server.Close()
	client, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	stream := client.NewStream()
	defer stream.Close()

	addresses := []string{
		server.URL + "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
		server.URL + "/ws/@connections/0f8fad5b-d9cb-469f-a165-70867728950e",
	}
	written := 0
	for _, err := range stream.PushEach(context.Background(), slices.Values(addresses), publisher.Text, []byte("Hello")) {
		if err == nil {
			written++
		}
	}
	fmt.Println(written, "written")
	// Output:
	// 2 written
}

// Many messages at once, without a goroutine for each.
func ExampleStream_Send() {
	server := httptest.NewServer(new(worker))
	defer server.Close()
	client, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	stream := client.NewStream()
	address := server.URL + "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	outcomes := make(chan error, 1000)
	for i := range 1000 {
		err := stream.Send(context.Background(), address, publisher.Text, fmt.Appendf(nil, "message %d", i), func(_ publisher.Receipt, err error) { outcomes <- err })
		if err != nil {
			outcomes <- err
		}
	}
	_ = stream.Close() // waits for all outcomes
	written := 0
	for range 1000 {
		if <-outcomes == nil {
			written++
		}
	}
	fmt.Println(written, "written")
	// Output:
	// 1000 written
}

// What is worth nothing to a page that comes back later, and what to do if its user is not there.
func ExampleKeep() {
	// A fake, which answers as a worker would whose client is in a tunnel.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("keep") {
			w.Header().Set("Wspush-Buffered", "117")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"type":"urn:wspush:suspended","title":"Conflict","status":409,"detail":"the client is away"}`)
	}))
	defer server.Close()
	client, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	address := server.URL + "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"

	receipt, err := client.Push(context.Background(), address, publisher.Text, []byte("Your order has shipped"))
	fmt.Println(receipt.State, receipt.BufferedFor, err)
	_, err = client.Push(context.Background(), address, publisher.Text, []byte("The driver rings your bell"), publisher.Keep(0))
	if errors.Is(err, publisher.ErrSuspended) {
		fmt.Println("nobody looks at the page: call her")
	}
	// Output:
	// buffered 1m57s <nil>
	// nobody looks at the page: call her
}

// One message to whatever somebody has open.
func ExampleClient_User() {
	// A fake, which answers as a worker would that has two connections of Ann's, one of which reads too slowly.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/@users/ann" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusGone)
			_, _ = io.WriteString(w, `{"type":"urn:wspush:gone","title":"Gone","status":410,"detail":"nobody is there","written":0,"received":0,"refused":{},"unknown":0,"excepted":0,"workers":1,"answered":1,"complete":true}`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"written":1,"received":0,"refused":{"busy":1},"unknown":0,"excepted":0,"workers":1,"answered":1,"complete":true}`)
	}))
	defer server.Close()
	client, err := publisher.New(&publisher.Options{Workers: []string{server.URL}, Credential: "a-credential-for-AuthorizePush"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for _, user := range []string{"ann", "bob"} {
		outcomes, err := client.User(user).Push(context.Background(), publisher.Text, []byte("Your order has shipped"))
		switch {
		case errors.Is(err, publisher.ErrUnknown):
			fmt.Println(user, "may have it")
		case err != nil:
			fmt.Println(user, "has not got it, and will not: send a mail")
		default:
			fmt.Println(user, "has it", outcomes.Written, "times;", outcomes.Err())
		}
	}
	// Output:
	// ann has it 1 times; wspush: busy, try again later: 1
	// bob has not got it, and will not: send a mail
}

// notify tells somebody something. It has no need to know whether to is of this process's Worker, worker.User(name), or of a
// publisher.Client, client.User(name).
func notify(ctx context.Context, to interface {
	Push(context.Context, publisher.MessageType, []byte, ...publisher.PushOption) (publisher.Outcomes, error)
}, message string) (reached int, err error) {
	outcomes, err := to.Push(ctx, publisher.Text, []byte(message), publisher.Confirmed())
	return outcomes.Received, err
}

// Code that pushes to users in the same process or from another one.
func ExampleRecipients() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"written":0,"received":2,"refused":{},"unknown":0,"excepted":0,"workers":1,"answered":1,"complete":true}`)
	}))
	defer server.Close()
	client, err := publisher.New(&publisher.Options{Workers: []string{server.URL}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	fmt.Println(notify(context.Background(), client.Group("everybody"), "The building is on fire"))
	// Output:
	// 2 <nil>
}
