package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/wspush/wspush"
)

// Options configures a Console. A nil *Options, and the zero value of each field, mean the defaults. New copies and checks the
// options once.
type Options struct {
	// ReadOnly hides the push box and the disconnect button, and refuses both requests with 403. The default is false.
	ReadOnly bool

	// Hosts lists the names by which browsers reach the console, if they differ from the Host that the server sees, as behind a
	// proxy on the same machine: "admin.example.com", "admin.example.com:8443". The default is none: on loopback the console then
	// answers only to localhost and loopback addresses, and requests from a page must go to the page's own host.
	Hosts []string

	// Label returns the application's name for a connection. The page shows it as text and searches it. It is called at least
	// once for each connection while a page is open, from any goroutine, and the page waits for it. A panic is logged and leaves
	// the label empty. The default is the connection's user, wspush.Conn.User.
	Label func(c *wspush.Conn) string

	// User returns the name of the operator who sent a request, as the application's authentication knows it, for the log. It
	// is called before each push and each disconnect. The default is none: only the request's RemoteAddr is logged.
	User func(r *http.Request) string

	// Logger receives a record at level Info for each push and each disconnect: the action, the connection (the first 8 digits
	// of its ID), or the user or group by its name, and the operator. The message itself is not logged. The default is
	// slog.Default(), read once by New.
	Logger *slog.Logger
}

// A Console is an http.Handler that serves a page for the operators of one worker. It has no authentication: anyone who reaches
// it can push to every client and disconnect every client. It is safe for concurrent use.
type Console struct {
	worker  *wspush.Worker
	name    string // random
	opts    Options
	page    *page
	guard   *guard
	handles handles
	feed    *feed
	own     *wspush.Worker // its connections are pages
	socket  *wspush.Handler
}

// maxPages is how many pages may be open at once.
const maxPages = 64

// New makes a Console for worker. It starts no goroutine: those that run while a page is open end when the last page closes, or
// on Shutdown. It returns an error if an option is invalid.
func New(worker *wspush.Worker, opts *Options) (*Console, error) {
	if worker == nil {
		return nil, errors.New("console: New needs a Worker")
	}
	c := &Console{worker: worker, name: rand.Text(), page: newPage(), handles: newHandles()}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Logger == nil {
		c.opts.Logger = slog.Default()
	}
	var err error
	if c.guard, err = newGuard(c.opts.Hosts); err != nil {
		return nil, err
	}
	c.feed = newFeed(worker, c.labelOf)
	// Nobody pushes to pages from outside, so this worker's addresses lead nowhere (RFC 2606), and pages are not told them.
	c.own, err = wspush.NewWorker(&wspush.WorkerOptions{
		NoListen: true, Advertise: []string{"console.invalid"}, MaxConns: maxPages, Logger: slog.New(warnings{c.opts.Logger.Handler()}),
	})
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	if c.socket, err = newSocket(c); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return c, nil
}

// ServeHTTP looks only at the last segment of the path: a trailing slash gets the page, and the page's own requests are found
// below it. Anything else is redirected to the page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeader(w.Header())
	if err := c.guard.check(r); err != nil {
		http.Error(w, err.Error(), err.status)
		return
	}
	path := r.URL.Path
	if path == "" { // http.StripPrefix removed all of it
		if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
			path = u.Path
		}
	}
	switch last := path[strings.LastIndexByte(path, '/')+1:]; last {
	case "":
		only(http.MethodGet, c.page.ServeHTTP)(w, r)
	case "feed":
		only(http.MethodGet, c.socket.ServeHTTP)(w, r)
	case "members":
		only(http.MethodPost, c.serveMembers)(w, r)
	case "push":
		only(http.MethodPost, c.servePush)(w, r)
	case "disconnect":
		only(http.MethodPost, c.serveDisconnect)(w, r)
	default:
		// http.Redirect would make the path absolute, although a prefix may have been stripped from it. The "./" keeps a colon
		// in the segment from being read as a scheme.
		w.Header().Set("Location", "./"+url.PathEscape(last)+"/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// only answers any other method with 405, except that HEAD passes for GET.
func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (r.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", method)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	}
}

// Shutdown closes the open pages with code 1012, refuses new ones, and waits until their goroutines have ended or ctx ends;
// then it returns ctx's error. Call it after Worker.Shutdown, so that pages show the draining and its end, and before
// http.Server.Shutdown. It may be called more than once.
//
// Pages also close when the worker has shut down; their goroutines then end on their own.
func (c *Console) Shutdown(ctx context.Context) error {
	if c.worker.Draining() && c.worker.Stats().Connections == 0 {
		c.feed.finish(ctx)
	}
	if err := c.own.Shutdown(ctx); err != nil {
		return err
	}
	return c.feed.close(ctx)
}

// labelOf returns the name for conn that the page shows, or "" if Label panics.
func (c *Console) labelOf(conn *wspush.Conn) (label string) {
	if c.opts.Label == nil {
		return conn.User()
	}
	defer func() {
		if e := recover(); e != nil {
			c.opts.Logger.Error("wspush/console: panic in Label", "conn", conn.String(), "panic", e)
			label = ""
		}
	}()
	return c.opts.Label(conn)
}

// warnings passes on only warnings and errors: the pages' own worker is an implementation detail, and its routine records are
// none of the application's business.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
