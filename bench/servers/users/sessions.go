package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/internal/order"
)

// countingListener counts the bytes of all of its connections, in both directions. In this server nobody connects to it but other workers.
type countingListener struct {
	net.Listener
	bytes atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{c, &l.bytes}, nil
}

type countingConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}

// handleSessions serves what the benchmark of sessions needs: POST /bench/numbers pushes messages to all, each of which begins with its number, and
// GET /bench/sessions says how many sessions there are.
func handleSessions(mux *http.ServeMux, worker *wspush.Worker, counting *countingListener) {
	mux.HandleFunc("POST /bench/numbers", func(w http.ResponseWriter, r *http.Request) {
		from, err1 := strconv.Atoi(r.FormValue("from"))
		n, err2 := strconv.Atoi(r.FormValue("n"))
		if err := errors.Join(err1, err2); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		conns, accepted := slices.Collect(worker.Conns()), 0
		for i := range n {
			data := fmt.Sprintf("%d %s", from+i, strings.Repeat("S", order.Size))[:order.Size]
			for _, c := range conns {
				if _, err := c.Push(context.Background(), wspush.Text, []byte(data)); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				accepted++
			}
		}
		fmt.Fprint(w, accepted)
	})
	mux.HandleFunc("GET /bench/sessions", func(w http.ResponseWriter, _ *http.Request) {
		s := worker.Stats().Sessions
		_ = json.NewEncoder(w).Encode(order.Sessions{
			Live: s.Live, Suspended: s.Suspended, Resumed: s.Resumes.Resumed, Taken: s.Taken, Moved: s.Moved, Bytes: counting.bytes.Load(),
		})
	})
}
