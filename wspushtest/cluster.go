package wspushtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// Cluster is several workers in memory that find each other's users and groups through a directory, as several processes with a
// [wspush.Cluster] do: whichever of them is asked, a push reaches the members of all. Between them is no network either, so it works
// in a testing/synctest bubble. Its methods belong in the goroutine of the test that it was made for.
type Cluster struct {
	tb     testing.TB
	key    []byte
	memory *memory

	mu      sync.Mutex // guards what follows
	workers []*clusterWorker
}

// clusterWorker is one of the workers.
type clusterWorker struct {
	host   string
	dial   dialFunc
	seat   *seat
	worker *wspush.Worker // set before made is closed; nil if it could not be made
	made   chan struct{}
}

// NewCluster makes a Cluster that has no workers yet.
func NewCluster(tb testing.TB) *Cluster {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Cluster{tb: tb, key: key, memory: newMemory()}
}

// NewWorker is the function [NewWorker] for a worker of the Cluster, which it sets in opts; opts must have none. The addresses of the
// first worker begin with http://worker-1.test, and so on, unless opts says otherwise. The worker is shut down when the
// test ends, or earlier by the test, to see what becomes of its clients.
func (c *Cluster) NewWorker(opts *wspush.WorkerOptions) *wspush.Worker {
	c.tb.Helper()
	var o wspush.WorkerOptions
	if opts != nil {
		o = *opts
	}
	if o.Cluster != nil {
		c.tb.Fatalf("making the worker: WorkerOptions.Cluster is set already: leave it to the test's Cluster")
	}
	w := c.add()
	defer close(w.made)
	o.Cluster = &wspush.Cluster{Keys: [][]byte{c.key}, Address: "http://" + w.host, Directory: w.seat}
	if len(o.Advertise) == 0 && isInMemory(&o) {
		o.Advertise = []string{o.Cluster.Address}
	}
	w.worker = NewWorker(c.tb, &o)
	return w.worker
}

// New is the function [New] with a worker of the Cluster: see the method NewWorker.
func (c *Cluster) New(opts *Options) *Server {
	c.tb.Helper()
	if opts == nil {
		opts = &Options{}
	}
	return newServer(c.tb, c.NewWorker(&opts.Worker), opts)
}

// add makes a place for a worker.
func (c *Cluster) add() *clusterWorker {
	c.tb.Helper()
	w := &clusterWorker{seat: &seat{memory: c.memory, dial: c.dial}, made: make(chan struct{})}
	// Before the worker, so that others reach it for as long as it lives.
	w.dial = serve(c.tb, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if <-w.made; w.worker != nil {
			w.worker.ServeHTTP(rw, r)
		}
	}))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers = append(c.workers, w)
	w.host = fmt.Sprintf("worker-%d.test", len(c.workers))
	return w
}

// dial connects a worker to another one.
func (c *Cluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for _, w := range c.all() {
		if w.host == host {
			return w.dial(ctx, network, address)
		}
	}
	return nil, fmt.Errorf("the test's Cluster has no worker at %s", address)
}

func (c *Cluster) all() []*clusterWorker {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.workers
}

// StopDirectory makes the directory fail, as an engine does that is down: what names a user or a group then fails with
// [wspush.ErrDirectory], and nothing of it is written, while clients still connect and addresses still work.
func (c *Cluster) StopDirectory() { c.memory.stop() }

// StartDirectory undoes StopDirectory, and waits until all workers have noticed. Nothing is lost. Users who have come
// meanwhile are found a moment later: in a bubble, after [testing/synctest.Wait].
func (c *Cluster) StartDirectory() {
	c.tb.Helper()
	c.memory.start()
	ctx, cancel := context.WithTimeout(context.Background(), noticeTimeout)
	defer cancel()
	for _, w := range c.all() {
		if w.worker != nil && !w.awaitDirectory(ctx) {
			c.tb.Errorf("%s has not noticed within %v that the directory works again", w.host, noticeTimeout)
		}
	}
}

const (
	noticeTimeout  = 5 * time.Second      // for all workers to notice that the directory works again
	noticeInterval = 5 * time.Millisecond // how often a worker is asked, which has it look
)

// awaitDirectory waits until the directory works for the worker. That of one that shuts down need not.
func (w *clusterWorker) awaitDirectory(ctx context.Context) bool {
	again := time.NewTicker(noticeInterval)
	defer again.Stop()
	for !w.worker.Draining() && !w.knows(ctx) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// knows reports whether the worker looks users up in the directory.
func (w *clusterWorker) knows(ctx context.Context) bool {
	before := w.seat.found.Load()
	for range w.worker.User("anybody").Members(ctx) { // what it finds out does not matter: another worker may be silent
	}
	return w.seat.found.Load() > before
}
