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
	path   string // the path that the connection must have
	name   string // a sealed ID, or the marker of a bulk request
	query  string
	header http.Header
	body   io.Reader // nil for none
	length int64     // the body's; negative if unknown

	isSent  bool                  // a part of the request may have been sent
	begun   atomic.Bool           // a body that is passed on as it arrives has been begun
	bodyErr atomic.Pointer[error] // the error that ended reading such a body
	ended   func()                // called when such a body has been read to its end
}

// answer is another worker's whole answer.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// errNotWorker means that an answer has no proof. It may come from a proxy that passed the request on to the worker and then gave
// up. errRefused is an errNotWorker whose status shows that the request was not passed on.
var (
	errNotWorker = errors.New("the process there did not prove that it is a worker with the same keys and the right time")
	errRefused   = fmt.Errorf("%w, and refused", errNotWorker)
)

// notWorker returns the error for an answer without a proof.
func notWorker(status int) error {
	if status >= 300 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusRequestEntityTooLarge {
		return errRefused
	}
	return errNotWorker
}

// send sends a request to another worker and reads the answer. After an error, problem or outcome says what it means.
func (c *cluster) send(ctx context.Context, out *outgoing) (*answer, error) {
	resp, instance, err := c.do(ctx, c.transport, out)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 300 && instance != out.place.Instance { // no other instance can have done it
		return nil, errNotWorker
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil || len(body) > maxAnswer {
		return nil, errors.Join(err, errors.New("its answer could not be read to its end"))
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

// notRelayed are headers that concern only the connection on which an answer came (RFC 9110 section 7.6.1).
var notRelayed = []string{"Connection", "Content-Length", "Date", "Keep-Alive", "Transfer-Encoding", "Upgrade", hopHeader}

// maxStale is how many connections may turn out to be closed before anything was sent.
const maxStale = 8

// do sends a request, and returns the answer and the worker that proved to have given it.
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

var errStale = errors.New("the worker closed every connection before a request could be sent")

// request makes the request without its body, and the proof that an answer must refer to.
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

// setBody sets r's body, but not GetBody, with which the transport might send it again after an HTTP/2 reset.
func (out *outgoing) setBody(r *http.Request) {
	whole, ok := out.body.(*bytes.Buffer)
	switch {
	case ok && whole.Len() > 0:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(whole.Bytes())), int64(whole.Len())
	case !ok && out.body != nil:
		r.Body, r.ContentLength = sentBody{out}, out.length
	}
}

// sentBody is a body passed on as it arrives. Closing it does nothing: net/http closes the source.
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

// givenUp reports whether the publisher caused the failure: it did not send its whole body, or it left (ctx has ended) before
// the request was sent.
func (out *outgoing) givenUp(ctx context.Context) bool {
	failed := out.bodyErr.Load()
	return failed != nil && *failed != io.EOF || ctx.Err() != nil && !out.isSent
}

// outcome returns what a failure to send a request means to the publisher.
func (out *outgoing) outcome(err error) error {
	switch {
	case errors.Is(err, errRefused), !out.isSent:
		return ErrUnreachable
	default:
		return errUnknownHop
	}
}

// err returns the error that Push returns for an answer.
func (a *answer) err() error {
	if a.status == http.StatusNoContent {
		return nil
	}
	var p problem
	_ = json.Unmarshal(a.body, &p) // missing members are not needed
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
	return fmt.Errorf("wspush: the connection's worker refused the request with %d: %.200q", a.status, p.Detail)
}
