package wspush

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/sent"
	"github.com/wspush/wspush/internal/wire"
)

// outgoing is a request to another worker.
type outgoing struct {
	kind   hop
	method string
	place  *seal.Place
	path   string // at which the connection must live
	name   string // a token, or the marker of a bulk request
	query  string
	header http.Header
	body   io.Reader // nil if there is none
	length int64     // of it; negative: unknown

	isSent  bool                  // something of it may have been
	begun   atomic.Bool           // the body has, if it is one that is sent while it comes in
	bodyErr atomic.Pointer[error] // how that ended
	ended   func()                // called when it has come in to its end
}

// answer is another worker's, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// errNotWorker is for an answer without a proof. errRefused is one by which something has refused the request, rather than
// passed it on: a proxy in front of the worker may have, and then given up.
var (
	errNotWorker = errors.New("what listens there does not prove to be a worker with the same keys, whose clock is right")
	errRefused   = fmt.Errorf("%w, and refuses", errNotWorker)
)

// notWorker is the error for an answer without a proof.
func notWorker(status int) error {
	if status >= 300 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusRequestEntityTooLarge {
		return errRefused
	}
	return errNotWorker
}

// send sends a request to another worker and reads the answer. If that fails, problem or outcome tells what it means.
func (c *cluster) send(ctx context.Context, out *outgoing) (*answer, error) {
	resp, instance, err := c.do(ctx, c.transport, out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 300 && instance != out.place.Instance { // no other can have done it
		return nil, errNotWorker
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return nil, errors.Join(err, errors.New("its answer could not be read to the end"))
	}
	header := http.Header{}
	for name, values := range resp.Header {
		if !slices.Contains(notRelayed, name) {
			header[name] = values
		}
	}
	if out.method == http.MethodHead && resp.ContentLength >= 0 {
		header.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	}
	return &answer{resp.StatusCode, header, body}, nil
}

// notRelayed are headers of an answer that concern only the connection on which it came (RFC 9110 section 7.6.1).
var notRelayed = []string{"Connection", "Content-Length", "Date", "Keep-Alive", "Transfer-Encoding", "Upgrade", hopHeader}

// maxStale is how many connections may turn out to have been closed by the other worker before anything was sent.
const maxStale = 8

// do sends a request, and returns the answer and which worker has proved to have given it.
func (c *cluster) do(ctx context.Context, transport *http.Transport, out *outgoing) (_ *http.Response, instance uint64, err error) {
	for range maxStale {
		r, proof, err := c.request(out)
		if err != nil {
			return nil, 0, err
		}
		out.setBody(r)
		var trace sent.Trace
		resp, err := transport.RoundTrip(r.WithContext(trace.Attach(ctx)))
		if err != nil {
			isSent, stale := trace.Sent()
			if stale && !out.begun.Load() && ctx.Err() == nil {
				continue
			}
			out.isSent = isSent
			return nil, 0, err
		}
		out.isSent = true
		instance, ok := c.verifyAnswer(resp.Header, proof)
		if !ok {
			resp.Body.Close()
			return nil, 0, notWorker(resp.StatusCode)
		}
		return resp, instance, nil
	}
	return nil, 0, errStale
}

var errStale = errors.New("it closes every connection")

// request makes the request, without its body, and the proof that an answer must refer to.
func (c *cluster) request(out *outgoing) (r *http.Request, proof string, err error) {
	scheme, rest, _ := strings.Cut(out.place.Address, "://")
	at := address.Base{Scheme: scheme + "://", Rest: rest}
	target := at.Path(out.path, out.name)
	if out.name == wire.Marker {
		target = at.Bulk(out.path)
	}
	if r, err = http.NewRequest(out.method, target, nil); err != nil {
		return nil, "", err
	}
	r.URL.RawQuery = out.query
	r.Header = out.header.Clone()
	r.Header.Set("User-Agent", "wspush")
	header, proof := c.proveHop(out.kind, out.place.Address, out.method, out.name, out.query)
	r.Header.Set(hopHeader, header)
	return r, proof, nil
}

// setBody gives r the body. There is no GetBody: with it, the transport may send it again after an HTTP/2 reset.
func (out *outgoing) setBody(r *http.Request) {
	whole, ok := out.body.(*bytes.Buffer)
	switch {
	case ok && whole.Len() > 0:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(whole.Bytes())), int64(whole.Len())
	case !ok && out.body != nil:
		r.Body, r.ContentLength = sentBody{out}, out.length
	}
}

// sentBody is a body on its way through. Closing it leaves what it is read from to net/http.
type sentBody struct{ out *outgoing }

func (b sentBody) Read(p []byte) (int, error) {
	b.out.begun.Store(true)
	n, err := b.out.body.Read(p)
	if err != nil {
		b.out.bodyErr.Store(&err)
		if err == io.EOF {
			b.out.ended()
		}
	}
	return n, err
}

func (b sentBody) Close() error { return nil }

// bodyEnded reports whether the body has been read to its end.
func (out *outgoing) bodyEnded() bool {
	if _, whole := out.body.(*bytes.Buffer); whole || out.body == nil {
		return true
	}
	err := out.bodyErr.Load()
	return err != nil && *err == io.EOF
}

// givenUp reports whether it was the publisher that had the other worker get no message: it has not sent all of it, or has left,
// with ctx, before the request was sent.
func (out *outgoing) givenUp(ctx context.Context) bool {
	failed := out.bodyErr.Load()
	return failed != nil && *failed != io.EOF || ctx.Err() != nil && !out.isSent
}

// outcome is what the failure to send a request to another worker means to its publisher.
func (out *outgoing) outcome(err error) error {
	switch {
	case errors.Is(err, errRefused), !out.isSent:
		return ErrUnreachable
	default:
		return errUnknownHop
	}
}

// err is what Push returns for an answer.
func (a *answer) err() error {
	if a.status == http.StatusNoContent {
		return nil
	}
	var p problem
	_ = json.Unmarshal(a.body, &p) // what it lacks is not needed
	switch {
	case a.status == http.StatusGatewayTimeout && p.Connection == "gone":
		return errUnknownGone
	case a.status == http.StatusGatewayTimeout && p.Type == typeUnconfirmed:
		return errUnconfirmed
	case a.status == http.StatusGatewayTimeout:
		return errUnknownOpen
	}
	if err := wire.ErrorOf(a.status, p.Type); err != nil {
		return err
	}
	return fmt.Errorf("wspush: the connection's worker refused the push with %d: %.200q", a.status, p.Detail)
}
