package lane

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
	conn   *conn
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

// SetReadDeadline is for http.ResponseController. It has nothing to do: the whole request has arrived.
func (w *response) SetReadDeadline(time.Time) error { return nil }

// Watch returns a context that ends when the publisher of the request that w answers leaves. The caller must call stop before
// it returns from the handler. A request that net/http serves is watched by net/http, which ends ctx: then Watch returns ctx.
func Watch(ctx context.Context, w http.ResponseWriter) (watched context.Context, stop func()) {
	if plain, ok := w.(*response); ok {
		return plain.watch(ctx)
	}
	return ctx, func() {}
}

// watch starts a goroutine that reads ahead, since only a read notices that a publisher has left. stop waits for it.
func (w *response) watch(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancel(ctx)
	c := w.conn
	_ = c.raw.SetReadDeadline(time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		// What arrives is the next request. A publisher that fills the buffer has not left.
		if _, err := c.in.Peek(c.in.Buffered() + 1); err != nil && err != bufio.ErrBufferFull {
			cancel()
		}
	}()
	return watched, func() {
		c.readBy = time.Unix(1, 0)
		_ = c.raw.SetReadDeadline(c.readBy)
		<-ended
		cancel()
	}
}

// send sends the response. It reports whether another request may follow.
func (w *response) send(last bool) (more bool) {
	last = last || w.Header().Get("Connection") == "close"
	w.conn.writeWithin(w.conn.listener.config.WriteTimeout)
	_, err := w.conn.raw.Write(w.render(last))
	return err == nil && !last
}

// render returns the bytes of the response.
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
