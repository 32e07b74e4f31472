package snippets

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/publisher"
)

// Many messages in one request.
func TestStream(t *testing.T) {
	_, _, url := newApplication(t)
	browser, other := dialClient(t, url+"/ws"), dialClient(t, url+"/ws")
	address, otherAddress := browser.next(), other.next()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	data := []byte("Your order has shipped")
	client, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	addresses, failed := slices.Values([]string{address, otherAddress}), 0
	note := func(string, error) { failed++ }

	stream := client.NewStream()
	defer stream.Close()
	_, err = stream.Push(ctx, address, publisher.Text, data) // from many goroutines; or Send, which does not wait
	if err != nil {
		t.Error(err)
	}
	for address, err := range stream.PushEach(ctx, addresses, publisher.Text, data) {
		if err != nil {
			note(address, err)
		}
	}
	if failed > 0 {
		t.Errorf("%d have failed", failed)
	}
	receives(t, browser, "Your order has shipped")
	receives(t, browser, "Your order has shipped")
	receives(t, other, "Your order has shipped")
}

// mountInCluster makes a worker that can be pushed through, and the mux that the load balancer's requests come to.
func mountInCluster(t *testing.T, key []byte) *http.ServeMux {
	t.Helper()
	const ip = "127.0.0.1"
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		PublicURL: "https://push.example.com",
		Cluster:   &wspush.Cluster{Keys: [][]byte{key}}, // at least 32 random bytes
		Listen:    ip + ":0",                            // where the other workers reach this one
	})
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	mux.Handle("/ws/@connections", worker)  // many messages in one request
	mux.Handle("/ws/@connections/", worker) // one
	return mux
}

// A push through the worker that does not hold the connection.
func TestThroughAnyWorker(t *testing.T) {
	key := []byte("in earnest, 32 random bytes or more")
	a, b := serveFor(t, mountInCluster(t, key)), serveFor(t, mountInCluster(t, key))
	client := dialClient(t, a+"/ws")
	greeting := client.next()
	path, ok := strings.CutPrefix(greeting, "https://push.example.com/ws/@connections/v1.")
	if !ok {
		t.Fatalf("the greeting is %q", greeting)
	}
	token := "v1." + path
	post(t, b+"/ws/@connections/"+token, "Your order has shipped")
	receives(t, client, "Your order has shipped")

	resp, err := http.Post(b+"/ws/@connections", "application/x-ndjson", strings.NewReader(`{"to":"`+token+`","text":"and another"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if want := "{\"line\":1,\"status\":204}\n{\"lines\":1}\n"; err != nil || string(answer) != want {
		t.Errorf("the answer is %q (%v), want %q", answer, err, want)
	}
	receives(t, client, "and another")
}
