package wspush

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"time"
)

// response is the http.ResponseWriter of a plain push.
type response struct {
	lane   *lane
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// SetReadDeadline is for http.ResponseController, and has nothing to do: the request is here in full.
func (w *response) SetReadDeadline(time.Time) error { return nil }

// watch returns a context that ends when the publisher leaves; stop ends the watch.
func (w *response) watch(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancel(ctx)
	l := w.lane
	_ = l.conn.SetReadDeadline(time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// What comes in is the next request. If that fills the buffer, the publisher has not left.
		if _, err := l.in.Peek(l.in.Buffered() + 1); err != nil && err != bufio.ErrBufferFull {
			cancel()
		}
	}()
	return watched, func() {
		l.readBy = time.Unix(1, 0)
		_ = l.conn.SetReadDeadline(l.readBy)
		<-ended
		cancel()
	}
}

// send sends the response, and reports whether another may follow.
func (w *response) send(last bool) (more bool) {
	last = last || w.Header().Get("Connection") == "close"
	w.lane.writeWithin(answerTimeout)
	_, err := w.lane.conn.Write(w.render(last))
	return err == nil && !last
}

// render makes the bytes of the response.
func (w *response) render(last bool) (out []byte) {
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent && len(w.header) == 0 && !last {
		out = append(out, "HTTP/1.1 204 No Content\r\nDate: "...)
		return append(time.Now().UTC().AppendFormat(out, http.TimeFormat), "\r\n\r\n"...)
	}
	w.Header().Del("Connection")
	w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	resp := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: last,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}
	var buf bytes.Buffer
	_ = resp.Write(&buf) // neither buffer fails
	return buf.Bytes()
}
