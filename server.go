package wspush

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/lane"
)

// pushServer serves the push endpoint on the worker's push listener: plain pushes on their lane, and everything else by
// net/http. startPushServer starts its goroutines, and stop stops them.
type pushServer struct {
	worker   *Worker
	http     *http.Server
	listener *lane.Listener
	served   chan struct{} // closed when http has stopped accepting
	stopping atomic.Bool   // stop has begun
	handlers tally         // those that are running, except while they are in AuthorizePush
	requests tally         // the same, until they have answered
	streams  atomic.Int64  // requests over HTTP/2 that are being carried out
	untaken  atomic.Int64  // answers over HTTP/2 that their publishers have not taken yet
}

// Limits of the push listener. A publisher sends a short request and a body of at most MaxPushBytes. Anyone slower than this
// is not a publisher.
const (
	headerTimeout  = 10 * time.Second // for the request's header
	bodyTimeout    = 30 * time.Second // for its body
	answerTimeout  = 10 * time.Second // for taking the answer
	idleTimeout    = 2 * time.Minute  // between two requests
	maxHeaderBytes = 16 << 10
	stopTimeout    = 500 * time.Millisecond // for connections to close once every request has its answer
	maxStreams     = 100                    // requests at a time on one connection of HTTP/2: the least that RFC 9113 section 6.5.2 advises
	streamBuffer   = 64 << 10               // what one such connection holds of bodies that nobody has read yet
)

// startPushServer serves w on its listener, in goroutines that stop stops.
func startPushServer(w *Worker) *pushServer {
	log := w.shared.log
	s := &pushServer{worker: w, served: make(chan struct{})}
	s.http = &http.Server{
		Handler:                      http.HandlerFunc(s.serve),
		TLSConfig:                    w.opts.TLS,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  headerTimeout + bodyTimeout, // for requests that never reach the handler, which sets its own
		WriteTimeout:                 answerTimeout,               // likewise
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true, // it waits for bodies without limit
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			WriteByteTimeout: answerTimeout, MaxConcurrentStreams: maxStreams,
			MaxReceiveBufferPerConnection: streamBuffer, MaxReceiveBufferPerStream: streamBuffer,
		},
	}
	s.listener = lane.New(w.listener, lane.Config{
		Handler: s.serve, Panicked: func(recovered any) { logPushPanic(log, recovered) },
		Context:  context.WithValue(context.Background(), http.ServerContextKey, s.http),
		MaxConns: w.opts.MaxPushConns, Full: writeTooMany, TLS: tlsConfig(s.http),
		HeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: answerTimeout, Log: log,
	})
	s.http.ConnState, s.http.ConnContext = s.listener.ConnState, s.listener.ConnContext
	go s.run()
	return s
}

// tlsConfig returns the configuration with which http.Server.ServeTLS would serve, or nil if there is to be no TLS. It has net/http
// set itself up for HTTP/2, which only ServeTLS does, and only net/http knows whether it may: see GODEBUG.
func tlsConfig(server *http.Server) *tls.Config {
	if server.TLSConfig == nil {
		return nil
	}
	_ = server.ServeTLS(noListener{}, "", "") // Serve will return the same error if the set-up fails
	config := server.TLSConfig.Clone()
	config.NextProtos = slices.Clone(config.NextProtos)
	if server.TLSNextProto["h2"] == nil {
		config.NextProtos = slices.DeleteFunc(config.NextProtos, func(proto string) bool { return proto == "h2" })
	}
	if !slices.Contains(config.NextProtos, "http/1.1") {
		config.NextProtos = append(config.NextProtos, "http/1.1")
	}
	return config
}

// noListener is a listener that is closed already.
type noListener struct{}

func (noListener) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (noListener) Close() error              { return nil }
func (noListener) Addr() net.Addr            { return nil }

// run accepts connections for net/http until stop.
func (s *pushServer) run() {
	defer close(s.served)
	err := s.http.Serve(s.listener) // the listener does TLS itself
	if !s.stopping.Load() {
		s.listener.Fail(err)
	}
}

// serve is Worker.ServeHTTP for requests that stop waits for.
func (s *pushServer) serve(rw http.ResponseWriter, r *http.Request) {
	if lane.IsGone(rw, r) {
		panic(http.ErrAbortHandler)
	}
	s.handlers.add(1)
	defer s.handlers.add(-1)
	res := s.deliver(rw, r)
	if res.linger != nil && !res.streamed && r.ProtoMajor == 1 {
		lane.Rest(r)
	}
	res.finish()
}

// deliver carries out the request and writes the answer, which the publisher has answerTimeout to take. Over HTTP/2 a publisher can
// leave any number of answers untaken, by giving them no flow-control window. So deliver waits until the answer is taken, and counts it
// until then.
func (s *pushServer) deliver(rw http.ResponseWriter, r *http.Request) response {
	control := http.NewResponseController(rw)
	if r.ProtoMajor == 1 {
		return s.answer(rw, r, func(res *response) {
			if !res.streamed { // or the connection may be a link's
				_ = control.SetWriteDeadline(time.Now().Add(answerTimeout))
			}
		})
	}
	_ = control.SetWriteDeadline(time.Time{}) // a push may take longer than an answer
	var untaken int64
	defer func() { s.untaken.Add(-untaken) }()
	res := s.answer(rw, r, func(res *response) {
		if res.isBulk() || r.Method == http.MethodPost && res.status == http.StatusNoContent {
			return // it is taken already, or has no body, which costs a frame less if net/http ends it
		}
		untaken = 1
		_ = control.SetWriteDeadline(time.Now().Add(s.timeToTake(s.untaken.Add(1))))
	})
	if untaken > 0 {
		_ = control.Flush()
	}
	return res
}

// timeToTake returns how long a publisher may take for its answer, while so many are not taken over HTTP/2. Those that read take no time.
// So that those that do not cannot keep them out, it is short once there are half as many as there may be; and beyond that the
// stream is reset.
func (s *pushServer) timeToTake(untaken int64) time.Duration {
	switch {
	case s.hasRoomFor(2 * untaken):
		return answerTimeout
	case s.hasRoomFor(untaken):
		return briefly
	}
	panic(http.ErrAbortHandler)
}

// answer carries out the request and writes the answer. It calls begin in between.
func (s *pushServer) answer(rw http.ResponseWriter, r *http.Request, begin func(*response)) response {
	s.requests.add(1)
	defer s.requests.add(-1) // also when the application's Logger panics
	res := s.handle(rw, r)
	begin(&res)
	s.worker.reply(rw, r, &res)
	return res
}

// handle is Worker.handle, if there is room for the request.
func (s *pushServer) handle(rw http.ResponseWriter, r *http.Request) response {
	if r.ProtoMajor > 1 {
		defer s.streams.Add(-1)
		if !s.hasRoomFor(s.streams.Add(1)) {
			return tooMany()
		}
	}
	return s.worker.handle(rw, r, s)
}

// hasRoomFor reports whether there may be so many requests over HTTP/2 at a time: as many as there may be connections, and at least
// those of one.
func (s *pushServer) hasRoomFor(streams int64) bool {
	limit := s.worker.opts.MaxPushConns
	return limit < 0 || streams <= int64(max(limit, maxStreams))
}

// authorize calls Worker.authorize. The time that the application takes does not count: stop does not wait for it, and the
// request's deadlines start again afterwards.
func (s *pushServer) authorize(rw http.ResponseWriter, r *http.Request) *problem {
	_ = http.NewResponseController(rw).SetReadDeadline(time.Time{}) // which would end the request's context
	s.handlers.add(-1)
	s.requests.add(-1)
	lane.StepAside(rw)
	defer lane.Probing(rw, r)()
	defer s.handlers.add(1)
	defer s.requests.add(1)
	defer lane.StepBack(rw)
	p := s.worker.authorize(rw, r)
	if r.ProtoMajor == 1 {
		_ = http.NewResponseController(rw).SetWriteDeadline(time.Now().Add(answerTimeout)) // for "100 Continue"
	}
	return p
}

// authorizeLine calls Worker.authorizeLine. stop does not wait for the application.
func (s *pushServer) authorizeLine(r *http.Request) *problem {
	s.handlers.add(-1)
	s.requests.add(-1)
	defer s.handlers.add(1)
	defer s.requests.add(1)
	return s.worker.authorizeLine(r)
}

// stop closes the push listener and waits for the requests under way. When ctx ends first, it cuts them and returns false.
func (s *pushServer) stop(ctx context.Context) (answered bool) {
	s.stopAccepting()
	answered = s.awaitAnswers(ctx)
	brief, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	s.closeConns(brief)
	s.awaitHandlers()
	s.listener.CloseHijacked()
	s.listener.WaitRefused(brief)
	return answered
}

// stopAccepting closes the listener, and every connection once it is between two requests. It leaves net/http alone:
// http.Server.Shutdown waits 5 s for connections that have not sent anything yet, so it must not be what waits for requests.
func (s *pushServer) stopAccepting() {
	s.stopping.Store(true)
	s.http.SetKeepAlivesEnabled(false)
	s.listener.Drain()
}

// awaitAnswers waits until every request has its answer. False means that ctx ended first.
func (s *pushServer) awaitAnswers(ctx context.Context) bool {
	none := s.requests.none()
	select {
	case <-none:
	case <-ctx.Done():
	}
	select {
	case <-none: // even if ctx has ended as well
		return true
	default:
		return false
	}
}

// closeConns closes every connection, and cuts those that are still in use when ctx ends. Requests that have just come in are
// answered until then.
func (s *pushServer) closeConns(ctx context.Context) {
	s.listener.Wait(ctx)
	if s.http.Shutdown(ctx) != nil {
		s.http.Close()
	}
}

// awaitHandlers waits until no handler is running. One that waits for another worker does not notice that its publisher's
// connection has been cut, so it is cut itself.
func (s *pushServer) awaitHandlers() {
	s.worker.cutAll()
	<-s.served
	<-s.handlers.none()
}
