// Command users is the benchmark's server on this repository, whose clients are users' and in a group. It is apart from the server that is
// compared with others, in which there are no clients of engines.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

// room is the group of all clients.
const room = "room"

func main() {
	listen := flag.String("push", "", "`address` to listen on for pushes")
	through := flag.String("through", "", "how to find the users of other workers: `URL` of an engine, or addresses of all workers")
	resume := flag.Duration("resume", 0, "how long a client may be away and come back to its session")
	s := control.New()
	opts := &wspush.WorkerOptions{
		Listen: *listen, WriteTimeout: s.WriteTimeout,
		AuthorizePush: func(*http.Request) error { return nil }, // without which there are no users by HTTP
	}
	address := func(c *wspush.Conn) string { return c.PathAddresses()[0] }
	if *through != "" {
		cluster, err := find(*through, *listen)
		if err != nil {
			log.Fatal(err)
		}
		opts.Cluster, opts.PublicURL = cluster, "http://"+*listen
		address = (*wspush.Conn).SealedAddress
	}
	var counting *countingListener
	if *resume > 0 {
		l, err := net.Listen("tcp", *listen)
		if err != nil {
			log.Fatal(err)
		}
		counting = &countingListener{Listener: l}
		opts.Listen, opts.Listener = "", counting
	}
	worker, err := wspush.NewWorker(opts)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: s.Ping,
		ResumeWindow: *resume,
		User:         func(r *http.Request, _ any) string { return strings.TrimPrefix(r.URL.Path, "/ws/") },
		Groups:       func(*wspush.Conn) []string { return []string{room} },
		Greeting:     func(c *wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(address(c)) },
	})
	if err != nil {
		log.Fatal(err)
	}
	s.Mux.Handle("/ws/", handler)
	s.HandleBroadcast(func(data []byte) (n int, err error) {
		for _, err := range worker.PushEach(context.Background(), worker.Conns(), wspush.Text, data) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	})
	s.Mux.HandleFunc("POST /bench/group", func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.Atoi(r.FormValue("size"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		o, err := worker.Group(room).Push(r.Context(), wspush.Text, []byte(strings.Repeat("B", size)))
		// That all workers have started so lately that there may be others is no failure of this push.
		if err == nil && len(o.Refused) > 0 {
			err = o.Err()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, o.Written)
	})
	s.Mux.HandleFunc("GET /bench/forwarded", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, worker.Stats().Forwarded)
	})
	if *resume > 0 {
		handleSessions(s.Mux, worker, counting)
	}
	s.Serve(func(id string, data []byte) error {
		_, err := worker.Push(context.Background(), id, wspush.Text, data)
		return err
	})
}
