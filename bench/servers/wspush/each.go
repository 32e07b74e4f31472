package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/internal/order"
)

// crowdPath is where those connect who are all sent the same.
const crowdPath = "/ws/crowd"

// crowd are the connections at crowdPath.
type crowd struct {
	worker *wspush.Worker

	mu  sync.Mutex // guards all
	all []*wspush.Conn
}

func (c *crowd) connected(conn *wspush.Conn) {
	if conn.Info().Path != crowdPath {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, conn)
}

// ServeHTTP sends everyone a message, "rounds" times, one every so many ms at most, with so many processors ("procs"; 0: all). It
// answers with how long each took.
func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rounds, err1 := strconv.Atoi(r.FormValue("rounds"))
	every, err2 := strconv.Atoi(r.FormValue("every"))
	procs, err3 := strconv.Atoi(r.FormValue("procs"))
	if err := errors.Join(err1, err2, err3); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if procs > 0 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
	}
	c.mu.Lock()
	conns := slices.Clone(c.all)
	c.mu.Unlock()
	data := []byte(strings.Repeat("E", order.Size))
	var took []time.Duration
	for begin := time.Now(); rounds > 0; rounds-- {
		from := time.Now()
		for _, err := range c.worker.PushEach(context.Background(), slices.Values(conns), wspush.Text, data) {
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		took = append(took, time.Since(from))
		if rounds > 1 {
			time.Sleep(time.Until(begin.Add(time.Duration(len(took)*every) * time.Millisecond)))
		}
	}
	_ = json.NewEncoder(w).Encode(took)
}
