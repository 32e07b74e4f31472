package wspush

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// response is the answer to one request: a success or a problem, this worker's own or another worker's.
type response struct {
	status   int
	header   http.Header // added to the ResponseWriter's; nil if there is nothing to add
	body     []byte
	isJSON   bool   // the body is JSON, which nobody may store
	detail   string // the problem's, for the log
	bodyRead bool   // nothing of the request's body is left
	streamed bool   // the handler has written the response itself
	isProbe  bool   // the answer to a probe, which is no problem, whatever it says

	// linger reads what a publisher is still sending although it has its answer. It is nil if there is nothing to read. send
	// sets it, or the handler of a streamed response.
	linger func()
}

// isProblem reports whether the response says that the request was refused, or has failed.
func (res *response) isProblem() bool { return res.status >= 300 }

// isBulk reports whether the response is that to a bulk request that was carried out.
func (res *response) isBulk() bool { return res.streamed && res.status == http.StatusOK }

// write writes the response. A publisher that has left does not read it, which does not matter.
func (res *response) write(w http.ResponseWriter) {
	h := w.Header()
	for name, values := range res.header {
		h[name] = values
	}
	if len(res.body) == 0 {
		w.WriteHeader(res.status)
		return
	}
	values := [...]string{strconv.Itoa(len(res.body)), "application/json", "no-store"}
	h["Content-Length"] = values[0:1:1]
	if res.isJSON {
		h["Content-Type"], h["Cache-Control"] = values[1:2:2], values[2:3:3]
	}
	w.WriteHeader(res.status)
	_, _ = w.Write(res.body)
}

// finish reads what the publisher is still sending. Call it once nobody needs to wait for the request any more.
func (res *response) finish() {
	if res.linger != nil {
		res.linger()
	}
}

// Limits of what is still read of a request that has its answer. None of it is kept.
const (
	briefly     = 50 * time.Millisecond // for a body that has arrived already, as most have
	lingerTime  = 5 * time.Second       // for a body that is still on its way
	lingerBytes = 8 << 20
	maxLinger   = 1024 // requests over HTTP/2; each of the others has a connection of its own
)

// send writes a problem to a publisher that may not have sent its whole body yet. Over HTTP/1, net/http would read a short body
// before it lets the response out, however long that takes. On a long one it would close the connection, and the publisher,
// finding it reset, would never see the response. So send writes the response first if the body does not arrive at once, and
// leaves the rest of the body to linger.
func (res *response) send(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 || res.bodyRead {
		res.write(w)
		return
	}
	control := http.NewResponseController(w)
	if r.ProtoMajor > 1 {
		res.sendHTTP2(w, r, control)
		return
	}
	if control.SetReadDeadline(time.Now().Add(lingerTime)) != nil { // a middleware hides it, so nothing would bound the reading
		res.announceClose()
		res.write(w)
		return
	}
	// Reading would make the server send "100 Continue" to a publisher that waits for it, and a chunked body cannot be read on
	// after a timeout.
	if r.ContentLength > 0 && r.Header.Get("Expect") == "" {
		_ = control.SetReadDeadline(time.Now().Add(briefly))
		if _, err := io.CopyN(io.Discard, r.Body, lingerBytes); err == io.EOF {
			_ = control.SetReadDeadline(time.Time{})
			res.write(w)
			return
		}
	}
	res.announceClose()
	_ = control.EnableFullDuplex()
	res.write(w)
	_ = control.Flush()
	if res.status == http.StatusRequestTimeout { // the body has had its time; net/http must not wait again
		_ = control.SetReadDeadline(time.Now().Add(briefly))
		return
	}
	res.linger = func() {
		_ = control.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, r.Body, lingerBytes)
	}
}

// sendHTTP2 is send over HTTP/2. There net/http resets a stream whose answer is complete before its body, and a publisher that
// first sends everything and then reads never sees the answer: the flow-control window is full, and nobody empties it. So the
// stream stays open while linger reads. A publisher that stops sending when it sees a refusal, as Go's does, and neither ends nor resets
// its stream, would wait for the end of the answer as long as that; so a body that is about to arrive is read before the answer.
func (res *response) sendHTTP2(w http.ResponseWriter, r *http.Request, control *http.ResponseController) {
	bounded := control.SetReadDeadline(time.Now().Add(lingerTime)) == nil
	// A deadline that has passed has ended the body for good, and reading would ask for a body that waits for "100 Continue".
	if !bounded || res.status == http.StatusRequestTimeout || r.Header.Get("Expect") != "" {
		res.write(w)
		return
	}
	read := make(chan struct{})
	go func() { // until the deadline, or until the handler returns, which closes the body
		defer close(read)
		_, _ = io.CopyN(io.Discard, r.Body, lingerBytes)
	}()
	timer := time.NewTimer(briefly)
	defer timer.Stop()
	select {
	case <-read:
		res.write(w)
		return
	case <-timer.C:
	}
	res.write(w)
	_ = control.Flush()
	res.linger = func() { <-read }
}

// announceClose closes the connection after the response: the rest of the body must not be taken for the next request. A 426 has
// another value of the header, which it replaces.
func (res *response) announceClose() {
	if res.header == nil {
		res.header = http.Header{}
	}
	res.header.Set("Connection", "close")
}
