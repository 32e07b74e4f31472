// Command wspush is the benchmark's server on this repository.
package main

import (
	"context"
	"flag"
	"log"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

func main() {
	listen := flag.String("push", "", "`address` to listen on for pushes")
	maxPending := flag.Int("max-pending", 0, "how many bytes may wait for one client")
	cluster := flag.Bool("cluster", false, "forward pushes, and greet clients with sealed addresses")
	public := flag.String("public", "", "`URL` that the sealed addresses begin with")
	bearer := flag.Bool("bearer", false, "refuse pushes without a token")
	s := control.New()
	opts := &wspush.WorkerOptions{Listen: *listen, WriteTimeout: s.WriteTimeout, MaxPending: *maxPending}
	if s.HasTLS() {
		opts.TLS = control.TLSConfig()
	}
	address := func(c *wspush.Conn) string { return c.PathAddresses()[0] }
	if *cluster {
		join(opts, *public)
		address = (*wspush.Conn).SealedAddress
	}
	if *bearer {
		address = authorize(opts, address)
	}
	worker, err := wspush.NewWorker(opts)
	if err != nil {
		log.Fatal(err)
	}
	everyone := &crowd{worker: worker}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: s.Ping,
		Greeting:     func(c *wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(address(c)) },
		OnConnect:    everyone.connected,
	})
	if err != nil {
		log.Fatal(err)
	}
	s.Mux.Handle("/ws", handler)
	s.Mux.Handle(crowdPath, handler)
	s.Mux.Handle("POST /bench/each", everyone)
	s.HandleBroadcast(func(data []byte) (n int, err error) {
		for _, err := range worker.PushEach(context.Background(), worker.Conns(), wspush.Text, data) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	})
	if *cluster {
		handleDrive(s.Mux, worker)
	}
	s.Serve(func(id string, data []byte) error {
		_, err := worker.Push(context.Background(), id, wspush.Text, data)
		return err
	})
}
