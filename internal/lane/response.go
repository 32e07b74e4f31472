package lane

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
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

// SetWriteDeadline has nothing to do either: the answer is written when the handler has returned, within a time of its own.
func (w *response) SetWriteDeadline(time.Time) error { return nil }

// StepAside says that the handler of a plain push is about to call the application, for as long as that takes, and StepBack that it
// has returned. Meanwhile Listener.Wait waits for the request only until its context ends. For a request of net/http's they do
// nothing.
func StepAside(w http.ResponseWriter) {
	if plain, ok := w.(*response); ok {
		plain.conn.aside.Store(true)
		plain.conn.listener.stepped()
	}
}

// StepBack ends what StepAside has begun.
func StepBack(w http.ResponseWriter) {
	if plain, ok := w.(*response); ok {
		plain.conn.aside.Store(false)
	}
}

// send sends the response. It reports whether another request may follow.
func (w *response) send(last bool) (more bool) {
	last = last || w.header.Get("Connection") == "close"
	w.conn.writeWithin(w.conn.listener.config.WriteTimeout)
	_, err := w.conn.raw.Write(w.render(last))
	return err == nil && !last
}

// render returns the bytes of the response.
func (w *response) render(last bool) (out []byte) {
	w.WriteHeader(http.StatusOK)
	if w.status == http.StatusNoContent && len(w.header) == 0 && !last {
		out = append(make([]byte, 0, 96), "HTTP/1.1 204 No Content\r\nDate: "...)
		return append(time.Now().UTC().AppendFormat(out, http.TimeFormat), "\r\n\r\n"...)
	}
	w.Header().Del("Connection")
	if out, ok := w.renderPlain(last); ok {
		return out
	}
	w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	resp := http.Response{
		StatusCode: w.status, ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Close: last,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}
	var buf bytes.Buffer
	_ = resp.Write(&buf) // neither buffer fails
	return buf.Bytes()
}

// renderPlain is render for a success whose body has the length that the header says, without whatever needs more care.
func (w *response) renderPlain(last bool) (out []byte, ok bool) {
	length := w.header["Content-Length"]
	if w.status != http.StatusOK || last || len(length) != 1 || len(w.header["Date"]) > 0 {
		return nil, false
	}
	if n, err := strconv.Atoi(length[0]); err != nil || n != w.body.Len() {
		return nil, false
	}
	out = append(make([]byte, 0, 256+w.body.Len()), "HTTP/1.1 200 OK\r\nDate: "...)
	out = time.Now().UTC().AppendFormat(out, http.TimeFormat)
	out = append(out, "\r\n"...)
	for name, values := range w.header {
		for _, value := range values {
			if !isHeaderName([]byte(name)) || !isPrintable([]byte(value)) {
				return nil, false
			}
			out = append(append(append(append(out, name...), ": "...), value...), "\r\n"...)
		}
	}
	return append(append(out, "\r\n"...), w.body.Bytes()...), true
}
