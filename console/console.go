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

// Options are the settings of a Console. The zero value of each field, and a nil *Options, mean the default. New copies and
// checks them once.
type Options struct {
	// ReadOnly takes the box and the button away: pushes and disconnects are refused with 403. The default is false.
	ReadOnly bool

	// Hosts are the names by which browsers reach the console when they differ from what the server itself is asked for, such
	// as those of a proxy on the same machine: "admin.example.com", "admin.example.com:8443". The default is none: on
	// loopback, only localhost and addresses of loopback are answered to, and the page must be of the host that it asks.
	Hosts []string

	// Label returns what the application calls a connection, such as its user's name, which the page shows, as text, and
	// searches. It is called once or more for each connection while a page is open, from any goroutine; the page waits for it.
	// A panic is logged, and the label then empty. The default is none.
	Label func(c *wspush.Conn) string

	// User returns who is at the page that sent a request, as the application's authentication knows it, for the log. It is
	// called before each push and each disconnect. The default is none: only the request's RemoteAddr is logged.
	User func(r *http.Request) string

	// Logger gets a record, at Info, for each push and each disconnect: what, to which connection (the first 8 digits of its
	// ID), by whom. The message is not logged. The default is slog.Default(), as it is in New.
	Logger *slog.Logger
}

// A Console is a page for operators of one worker, an http.Handler. It has no authentication: whoever reaches it can push to
// every client and disconnect it. It is safe for concurrent use.
type Console struct {
	worker  *wspush.Worker
	name    string // a random one
	opts    Options
	page    *page
	guard   *guard
	handles handles
	feed    *feed
	own     *wspush.Worker // whose connections are pages
	socket  *wspush.Handler
}

// maxPages is how many pages may be open at a time.
const maxPages = 64

// New makes a Console for worker. It starts nothing: what runs while a page is open ends when the last one is closed, and with
// Shutdown. It returns an error if an option makes no sense.
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
	// Nobody pushes to pages from outside, so this worker's addresses lead nowhere (RFC 2606), and pages are not told theirs.
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

// ServeHTTP answers what a path ends in: the page at a slash, and what the page asks for below it. Anything else is redirected
// to the page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeader(w.Header())
	if err := c.guard.check(r); err != nil {
		http.Error(w, err.Error(), err.status)
		return
	}
	path := r.URL.Path
	if path == "" { // http.StripPrefix has taken all of it
		if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
			path = u.Path
		}
	}
	switch last := path[strings.LastIndexByte(path, '/')+1:]; last {
	case "":
		only(http.MethodGet, c.page.ServeHTTP)(w, r)
	case "feed":
		only(http.MethodGet, c.socket.ServeHTTP)(w, r)
	case "push":
		only(http.MethodPost, c.servePush)(w, r)
	case "disconnect":
		only(http.MethodPost, c.serveDisconnect)(w, r)
	default:
		// Not with http.Redirect, which would make an absolute path of what may have been stripped of its prefix. With
		// "./", a colon in the segment makes no scheme of it.
		w.Header().Set("Location", "./"+url.PathEscape(last)+"/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	}
}

// only answers 405 to any other method, but for HEAD where there is GET.
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

// Shutdown closes the pages that are open, with 1012, refuses new ones, and waits for what runs for them, or until ctx ends: then it
// returns ctx's error. Call it after Worker.Shutdown, so that pages show the draining, and before http.Server.Shutdown. It
// may be called again.
//
// Pages are also closed when the worker has shut down; what runs for them then ends by itself.
func (c *Console) Shutdown(ctx context.Context) error {
	if err := c.own.Shutdown(ctx); err != nil {
		return err
	}
	return c.feed.close(ctx)
}

// labelOf returns what the application calls conn.
func (c *Console) labelOf(conn *wspush.Conn) (label string) {
	if c.opts.Label == nil {
		return ""
	}
	defer func() {
		if e := recover(); e != nil {
			c.opts.Logger.Error("wspush/console: panic in Label", "conn", conn.String(), "panic", e)
			label = ""
		}
	}()
	return c.opts.Label(conn)
}

// warnings is a slog.Handler for what the pages' own worker has to say: it is not the application's.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
