package lane

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// A publisher may close its side of the connection once its request is sent (nc -N does, for example), and still read the answer. To
// the worker one that has left looks the same, until something is written to it: then its system answers with a reset. So, after
// probeDelay, a publisher that has closed its side, and whose push waits, is sent "100 Continue", which every HTTP/1.1 client skips (RFC
// 9110 section 15.2). One that is not reset stays.

// probeDelay is how long an answer may take before a publisher that has closed its side is asked whether it is there.
const probeDelay = 20 * time.Millisecond

// interimTime is how long net/http may take to write what asks it.
const interimTime = 10 * time.Second

// interim is what asks it.
const interim = "HTTP/1.1 100 Continue\r\n\r\n"

// half is what is known of the other side of a connection that net/http has. While net/http serves a request, it reads a single byte, to
// notice a publisher that leaves: half keeps the end of the input from it, and reports a reset instead.
type half struct {
	isServing  atomic.Bool
	awaitReset func() error    // nil: cannot be known, so that a publisher that closes its side has left
	closed     context.Context // ends when the publisher has closed its side while a request of its was served
	setClosed  context.CancelFunc
}

func newHalf(awaitReset func() error) *half {
	h := &half{awaitReset: awaitReset}
	h.closed, h.setClosed = context.WithCancel(context.Background())
	return h
}

// ended returns what a read that has got the error io.EOF is to return.
func (h *half) ended(p []byte) error {
	if len(p) != 1 || h.awaitReset == nil || !h.isServing.Load() {
		return io.EOF
	}
	h.setClosed()
	return h.awaitReset()
}

// halfKey is the key of a request's half in its context.
type halfKey struct{}

// halfOf returns the half of a request's connection, or nil if a publisher that closes its side has left, as far as anyone can know.
func halfOf(r *http.Request) *half {
	if h, _ := r.Context().Value(halfKey{}).(*half); h != nil && h.awaitReset != nil {
		return h
	}
	return nil
}

// HalfClosed returns a channel that tells that the publisher has closed its side of the connection, and may have left: if it has, the
// request's context ends soon after something has been written. It returns nil if the context itself tells.
func HalfClosed(r *http.Request) <-chan struct{} {
	if h := halfOf(r); h != nil {
		return h.closed.Done()
	}
	return nil
}

// Probing finds out whether a publisher that has closed its side of the connection is still there, until stop is called: if not, the
// request's context ends. Meanwhile nobody may use w.
func Probing(w http.ResponseWriter, r *http.Request) (stop func()) {
	if _, ok := w.(*response); ok {
		return func() {} // its context does so by itself
	}
	h := halfOf(r)
	if h == nil {
		return func() {}
	}
	stopping, ended := make(chan struct{}), make(chan struct{})
	stopWaiting := context.AfterFunc(h.closed, func() {
		defer close(ended)
		select {
		case <-stopping:
			return
		case <-time.After(probeDelay):
		}
		if r.ProtoAtLeast(1, 1) {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(interimTime))
			w.WriteHeader(http.StatusContinue)
		} else { // whose publishers know no interim response, so this one has left, as far as anyone can know
			_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		}
	})
	return func() {
		close(stopping)
		if !stopWaiting() {
			<-ended
		}
	}
}
