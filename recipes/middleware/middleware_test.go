// Package middleware tests which middleware may surround a Handler.
package middleware

import (
	"bufio"
	"compress/gzip"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	chimiddleware "github.com/go-chi/chi/v5/middleware"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/recipes/internal/recipetest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode) // prints no warnings
	testutil.Main(m)
}

type middleware = func(http.Handler) http.Handler

// bare is how much logging middleware wraps a ResponseWriter, which is not enough.
type bare struct{ http.ResponseWriter }

// unwrapping is what it should be.
type unwrapping struct{ http.ResponseWriter }

func (w unwrapping) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// hijacking is what older middleware does.
type hijacking struct{ http.ResponseWriter }

func (w hijacking) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.ResponseWriter.(http.Hijacker).Hijack()
}

// gzipping compresses everything written, like compressors that do not look at the content.
type gzipping struct {
	http.ResponseWriter
	z *gzip.Writer
}

func (w gzipping) Write(p []byte) (int, error) { return w.z.Write(p) }

// wrapping is middleware that wraps the ResponseWriter.
func wrapping(wrap func(http.ResponseWriter) http.ResponseWriter) middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) })
	}
}

// withGin puts gin's own middleware in front.
func withGin(middlewares ...gin.HandlerFunc) middleware {
	return func(next http.Handler) http.Handler {
		router := gin.New()
		router.Use(middlewares...)
		router.GET("/ws", gin.WrapH(next))
		router.POST("/ws/@connections", gin.WrapH(next))
		router.POST("/ws/@connections/*id", gin.WrapH(next))
		return router
	}
}

// TestSurrounded puts each middleware around a Handler, with a client that accepts gzip, as browsers do.
func TestSurrounded(t *testing.T) {
	logTo := func(out io.Writer) chimiddleware.LogFormatter {
		return &chimiddleware.DefaultLogFormatter{Logger: log.New(out, "", 0), NoColor: true}
	}
	tests := []struct {
		name   string
		around middleware
		want   int
	}{
		{"nothing", func(next http.Handler) http.Handler { return next }, http.StatusSwitchingProtocols},
		{"a wrapper with Unwrap", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return unwrapping{w} }), http.StatusSwitchingProtocols},
		{"a wrapper with Hijack", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return hijacking{w} }), http.StatusSwitchingProtocols},
		{"a wrapper with neither", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return bare{w} }), http.StatusNotImplemented},
		{"http.TimeoutHandler", func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "") }, http.StatusNotImplemented},
		{"http.MaxBytesHandler", func(next http.Handler) http.Handler { return http.MaxBytesHandler(next, 1) }, http.StatusSwitchingProtocols},
		{"http.CrossOriginProtection", http.NewCrossOriginProtection().Handler, http.StatusSwitchingProtocols},
		{"a plain compressor", wrapping(func(w http.ResponseWriter) http.ResponseWriter {
			return gzipping{w, gzip.NewWriter(w)}
		}), http.StatusNotImplemented},

		{"chi: RequestLogger", chimiddleware.RequestLogger(logTo(t.Output())), http.StatusSwitchingProtocols},
		{"chi: Recoverer", chimiddleware.Recoverer, http.StatusSwitchingProtocols},
		{"chi: RequestID", chimiddleware.RequestID, http.StatusSwitchingProtocols},
		{"chi: Timeout", chimiddleware.Timeout(time.Minute), http.StatusSwitchingProtocols},
		{"chi: ThrottleBacklog", chimiddleware.ThrottleBacklog(1, 1, time.Minute), http.StatusSwitchingProtocols},
		{"chi: NoCache", chimiddleware.NoCache, http.StatusSwitchingProtocols},
		{"chi: Heartbeat", chimiddleware.Heartbeat("/alive"), http.StatusSwitchingProtocols},
		{"chi: Compress", chimiddleware.Compress(5), http.StatusSwitchingProtocols},
		{"chi: Logger, Recoverer, Timeout, Compress", func(next http.Handler) http.Handler {
			next = chimiddleware.Timeout(time.Minute)(chimiddleware.Compress(5)(next))
			return chimiddleware.RequestLogger(logTo(t.Output()))(chimiddleware.Recoverer(next))
		}, http.StatusSwitchingProtocols},

		{"gin: Logger, Recovery", withGin(gin.LoggerWithWriter(t.Output()), gin.RecoveryWithWriter(t.Output())), http.StatusSwitchingProtocols},
		{"gin: around http.TimeoutHandler", func(next http.Handler) http.Handler {
			return withGin()(http.TimeoutHandler(next, time.Minute, ""))
		}, http.StatusNotImplemented},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, test.around)
			opts := testutil.Options{Header: http.Header{"Accept-Encoding": {"gzip, deflate, br"}}}
			if test.want != http.StatusSwitchingProtocols {
				body := recipetest.Refused(t, server, opts, test.want)
				if test.name == "a wrapper with neither" && !strings.Contains(body, "middleware.bare cannot be hijacked") {
					t.Errorf("the answer does not name the middleware: %s", body)
				}
				return
			}
			// A Throttle that counted connections would not let the second in for a minute. It may have to wait until the first handshake is over.
			for range 2 {
				recipetest.Arrives(t, testutil.Dial(t, server, opts))
			}
		})
	}
}

func serve(t *testing.T, around middleware) (url string) {
	t.Helper()
	handler, err := wspush.NewHandler(recipetest.NewWorker(t, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", around(handler))
	return testutil.Serve(t, mux)
}

// If something in front has set a content type that chi's Compress compresses, the connection cannot be taken over, and is
// cut off.
func TestCompressWithContentType(t *testing.T) {
	server := serve(t, func(next http.Handler) http.Handler {
		return chimiddleware.SetHeader("Content-Type", "application/json")(chimiddleware.Compress(5)(next))
	})
	client, resp, err := testutil.TryDial(t, server, testutil.Options{Header: http.Header{"Accept-Encoding": {"gzip"}}})
	if err != nil {
		return
	}
	t.Errorf("connected: %v; then the recipes must say so", resp.Header)
	client.Close()
}

// Limits on requests, in chi's Timeout or the server itself, end with the handshake: a connection outlives them.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worker, err := wspush.NewWorker(&wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.example.com"}})
		if err != nil {
			t.Fatal(err)
		}
		recipetest.StopLater(t, worker)
		handler, err := wspush.NewHandler(worker, nil)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{
			Handler:      chimiddleware.Timeout(10 * time.Second)(handler),
			ReadTimeout:  10 * time.Second,
			WriteTimeout: 10 * time.Second,
			IdleTimeout:  10 * time.Second,
		}
		client := testutil.Handshake(t, servePipe(t, server), testutil.Options{Timeout: -1})
		client.Text()
		<-time.After(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := make(chan string)
		go func() {
			_, message, _ := client.Message()
			got <- string(message)
		}()
		if _, err := recipetest.OnlyConn(t, worker).Push(ctx, wspush.Text, []byte("still here")); err != nil {
			t.Error(err)
		}
		if text := <-got; text != "still here" {
			t.Errorf("got %q", text)
		}
		client.Close()
	})
}

// onePipe is a listener with one connection.
type onePipe struct {
	conns chan net.Conn // closed by Close
	addr  net.Addr
}

func (l onePipe) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l onePipe) Close() error   { close(l.conns); return nil }
func (l onePipe) Addr() net.Addr { return l.addr }

// servePipe serves one connection until the test ends, and returns the client's end.
func servePipe(t *testing.T, server *http.Server) net.Conn {
	client, end := net.Pipe()
	l := onePipe{make(chan net.Conn, 1), end.LocalAddr()}
	l.conns <- end
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return client
}
