// Package control is what the benchmark's servers have in common: their flags, the register of their connections, the
// push endpoint, and the means to measure them. What differs between them, the WebSocket library and how its README has
// one use it, is in their own packages.
package control

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// Server is a server under way.
type Server struct {
	Ping         time.Duration // the interval of pings
	WriteTimeout time.Duration // of a message to a client, where the library has one
	Mux          *http.ServeMux

	listener net.Listener
	secure   net.Listener // for pushes over TLS; nil: none
}

// New reads the flags and opens the listener.
func New() *Server {
	listen := flag.String("listen", "127.0.0.1:0", "`address` to listen on")
	ping := flag.Duration("ping", 5*time.Minute, "interval of pings")
	write := flag.Duration("write-timeout", 10*time.Second, "how long a client may take to be written to")
	secure := flag.Bool("tls", false, "have pushes come over TLS")
	flag.Parse()
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	s := &Server{Ping: *ping, WriteTimeout: *write, Mux: http.NewServeMux(), listener: l}
	if *secure {
		s.listenTLS()
	}
	return s
}

// URL is where to push to a connection of a server that uses HandlePush; servers greet their clients with it.
func (s *Server) URL(id string) string {
	if s.secure != nil {
		return "https://" + s.secure.Addr().String() + "/push/" + id
	}
	return "http://" + s.listener.Addr().String() + "/push/" + id
}

// HasTLS reports whether pushes are to come over TLS.
func (s *Server) HasTLS() bool { return s.secure != nil }

// Serve says on standard output that the server is ready, and serves for ever. The benchmark pushes with push in-process.
func (s *Server) Serve(push func(id string, data []byte) error) {
	s.Mux.HandleFunc("GET /bench/goroutines", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, runtime.NumGoroutine())
	})
	s.Mux.HandleFunc("POST /bench/hot", func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("id")
		Hot(w, r, func(data []byte) error { return push(id, data) })
	})
	if s.secure != nil {
		go s.serveTLS()
	}
	fmt.Println("ready", s.listener.Addr())
	log.Fatal(http.Serve(s.listener, s.Mux))
}

// Hot has as many publishers push in-process as the request says, each of them again and again, and answers what came of it.
func Hot(w http.ResponseWriter, r *http.Request, push func(data []byte) error) {
	publishers, err1 := strconv.Atoi(r.FormValue("publishers"))
	ms, err2 := strconv.Atoi(r.FormValue("ms"))
	if err := errors.Join(err1, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p, err := hot(push, publishers, time.Duration(ms)*time.Millisecond)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(p)
}

// pushed is what came of many pushes.
type pushed struct {
	Pushes  int64         `json:"pushes"`
	Elapsed time.Duration `json:"elapsed"`
}

func hot(push func(data []byte) error, publishers int, d time.Duration) (pushed, error) {
	data := []byte(strings.Repeat("H", order.Size))
	var stop atomic.Bool
	var pushes atomic.Int64
	failed := make(chan error, publishers)
	var all sync.WaitGroup
	begin := time.Now()
	for range publishers {
		all.Go(func() {
			n := int64(0)
			for !stop.Load() {
				if err := push(data); err != nil {
					failed <- err
					break
				}
				n++
			}
			pushes.Add(n)
		})
	}
	time.Sleep(d)
	stop.Store(true)
	all.Wait()
	p := pushed{Pushes: pushes.Load(), Elapsed: time.Since(begin)}
	select {
	case err := <-failed:
		return p, err
	default:
		return p, nil
	}
}

// HandleBroadcast serves POST /bench/broadcast?size=N with broadcast, which sends the data to all clients as one message each, and
// returns when everything is written. The answer is how many messages that were.
func (s *Server) HandleBroadcast(broadcast func(data []byte) (int, error)) {
	s.Mux.HandleFunc("POST /bench/broadcast", func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.Atoi(r.FormValue("size"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		n, err := broadcast([]byte(strings.Repeat("B", size)))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, n)
	})
}

// ErrGone says that there is no such connection.
var ErrGone = errors.New("no such connection")

// HandlePush serves POST /push/ID with push: the body becomes one message.
func (s *Server) HandlePush(push func(id string, data []byte) error) {
	s.Mux.HandleFunc("POST /push/{id}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := push(r.PathValue("id"), body); err != nil {
			http.Error(w, err.Error(), status(err))
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// Conns are the connections of a server by ID. The zero value is none.
type Conns[C any] struct {
	mu   sync.RWMutex
	byID map[string]C
}

// NewID makes an ID that nobody can guess.
func NewID() string { return rand.Text() }

// Add adds a connection.
func (cs *Conns[C]) Add(id string, c C) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.byID == nil {
		cs.byID = map[string]C{}
	}
	cs.byID[id] = c
}

// Remove removes a connection.
func (cs *Conns[C]) Remove(id string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.byID, id)
}

// All returns all connections.
func (cs *Conns[C]) All() []C {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	all := make([]C, 0, len(cs.byID))
	for _, c := range cs.byID {
		all = append(all, c)
	}
	return all
}

// Get returns a connection.
func (cs *Conns[C]) Get(id string) (C, error) {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	c, ok := cs.byID[id]
	if !ok {
		return c, ErrGone
	}
	return c, nil
}
