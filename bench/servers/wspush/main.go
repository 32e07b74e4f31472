// Command wspush is the benchmark's server on this repository.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

func main() {
	maxPending := flag.Int("max-pending", 0, "how many bytes may wait for one client")
	s := control.New()
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{WriteTimeout: s.WriteTimeout, MaxPending: *maxPending})
	if err != nil {
		log.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, &wspush.Options{
		PingInterval: s.Ping,
		Greeting:     func(c *wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(c.URLs()[0]) },
	})
	if err != nil {
		log.Fatal(err)
	}
	s.Mux.Handle("/ws", handler)
	s.Mux.HandleFunc("POST /bench/inprocess", func(w http.ResponseWriter, r *http.Request) { inProcess(worker, w, r) })
	s.Mux.HandleFunc("POST /bench/confirm", func(w http.ResponseWriter, r *http.Request) { confirm(worker, w, r) })
	s.Serve(func(id string, data []byte) error {
		return worker.Push(context.Background(), id, wspush.Text, data)
	})
}
