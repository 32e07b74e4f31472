package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/client"
)

//go:embed page.html
var page []byte

const (
	loggedOut = 4001        // the close code that tells a client not to come back; from 4000 on they are the application's
	changed   = "changed"   // the message that tells pages to ask again who is there
	watching  = "watching " // begins the name of a second group for each: those who want to be told when somebody comes or goes
)

// app is the application at one worker. What it does concerns the users of all workers.
type app struct {
	worker *wspush.Worker
	token  string
	resume time.Duration // how long a page may be away and miss nothing
	fleet  bool          // there are other workers, and something in front of all of them: a page may come back to any
}

func newHandler(a *app) (http.Handler, error) {
	clients, err := wspush.NewHandler(a.worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second, // proxies drop silent connections, many after 60 s
		// A page that loses its WebSocket comes back to its session, which stays its user's and in its groups. It counts as there until
		// then, or until this is over, which is long enough for a tunnel, and not so long that those who have crashed stay for ever.
		ResumeWindow: a.resume,
		Accept:       accept,
		User:         func(_ *http.Request, value any) string { return value.(identity).user },
		Groups:       func(c *wspush.Conn) []string { return c.Value().(identity).groups() },
		Greeting:     a.greet,
		OnConnect:    a.tellWatchers,
		OnDisconnect: func(c *wspush.Conn, reason error) {
			// A session that another worker has taken is where it was, to all who watch.
			if closed := new(wspush.CloseError); !errors.As(reason, &closed) || closed.Cause != wspush.CauseMoved {
				a.tellWatchers(c)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.HandleFunc("POST /login", login)
	mux.HandleFunc("POST /logout", logout)
	mux.HandleFunc("POST /logout-everywhere", a.logoutEverywhere)
	mux.HandleFunc("GET /who", a.serveWho)
	mux.HandleFunc("POST /push", a.push)
	mux.Handle("GET /wspush.js", client.Script()) // with which the page connects, and comes back
	mux.Handle("/ws", clients)
	mux.Handle("/ws/", a.worker) // the push endpoint, for publishers that come through nginx
	// Other sites must not log their visitors in or out here. A WebSocket is a GET: wspush itself checks its Origin.
	return http.NewCrossOriginProtection().Handler(mux), nil
}

// identity is who a client says that it is. A real one would be in a database, and the cookie would have a secret number. Here it is
// the cookie, without as much as a signature: anybody may be anybody.
type identity struct {
	user, group string // an empty group is none
	isPage      bool   // and not another client, which would not understand what pages are told
}

const cookieName = "login"

// groups are those that a connection is in from the start.
func (i identity) groups() []string {
	switch {
	case i.group == "":
		return nil
	case i.isPage:
		return []string{i.group, watching + i.group}
	}
	return []string{i.group}
}

// isValid holds names to the rules of HandlerOptions.user.
func (i identity) isValid() bool {
	return i.user != "" && isName(i.user) && isName(watching+i.group)
}

func isName(name string) bool {
	return len(name) <= 256 && utf8.ValidString(name) &&
		!strings.ContainsFunc(name, func(c rune) bool { return c == '/' || unicode.IsControl(c) })
}

// readIdentity reads it from a query: that of the WebSocket's URL, the login form, or what the cookie has, encoded in the same way.
func readIdentity(values url.Values, isPage bool) (s identity, ok bool) {
	// Clones, since parts of a URL would keep all of it in memory for as long as the connection lasts.
	s = identity{user: strings.Clone(values.Get("as")), group: strings.Clone(values.Get("group")), isPage: isPage}
	return s, s.isValid()
}

// identityOf returns who has sent a request from the page.
func identityOf(r *http.Request) (identity, bool) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return identity{}, false
	}
	values, err := url.ParseQuery(cookie.Value)
	if err != nil {
		return identity{}, false
	}
	return readIdentity(values, true)
}

// accept decides who may connect, and as whom: whoever has logged in, and, since anybody may, whoever says a name in the URL.
func accept(r *http.Request) (any, error) {
	if query := r.URL.Query(); query.Has("as") {
		if s, ok := readIdentity(query, false); ok {
			return s, nil
		}
		return nil, wspush.ErrForbidden
	}
	if s, ok := identityOf(r); ok {
		return s, nil
	}
	return nil, wspush.ErrUnauthorized
}

// greet tells the page who it is, and what the curl command needs: the token, and where the push endpoint is. Where there are several workers
// that is where the page is: it is greeted once, and the worker that greets it may be replaced the next minute.
func (a *app) greet(c *wspush.Conn) (wspush.MessageType, []byte) {
	var pushURL string
	if !a.fleet {
		pushURL, _, _ = strings.Cut(c.PathAddresses()[0], "/@connections/")
	}
	s := c.Value().(identity)
	return wspush.Text, mustJSON(map[string]string{"user": s.user, "group": s.group, "token": a.token, "pushURL": pushURL})
}

// tellWatchers tells pages that somebody has come to their group, or gone. They ask who is there rather than keep count: an answer cannot
// be missed, and is right even after a worker has crashed. Pages that are away ask when they are back, so it is not kept for them. An error
// does not matter, since they ask every now and then anyway.
func (a *app) tellWatchers(c *wspush.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	groups := c.Groups() // not that of Value, which is what the cookie was when the page was last back
	for _, group := range groups {
		if watched, ok := strings.CutPrefix(group, watching); ok && slices.Contains(groups, watched) {
			continue
		}
		_, _ = a.worker.Group(watching+group).Push(ctx, wspush.Text, []byte(changed), wspush.Keep(0))
	}
}

// person is somebody who is there.
type person struct {
	User        string    `json:"user"`
	Connections int       `json:"connections"`
	Since       time.Time `json:"since"`
}

// serveWho tells who is in the group of the one who asks, or with 204 that she is not logged in.
func (a *app) serveWho(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	s, ok := identityOf(r)
	if !ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	there := a.worker.Group(s.group)
	if s.group == "" {
		there = a.worker.User(s.user) // at least herself
	}
	people, isComplete := make(map[string]person), true
	for m, err := range there.Members(r.Context()) {
		switch {
		case errors.Is(err, wspush.ErrDirectory): // there may be others: it does not answer, or has just been started
			isComplete = false
			continue
		case err != nil:
			fail(w, err)
			return
		}
		p := people[m.User]
		if p.Connections++; p.Connections == 1 || m.Since.Before(p.Since) {
			p.User, p.Since = m.User, m.Since
		}
		people[m.User] = p
	}
	list := slices.SortedFunc(maps.Values(people), func(p, q person) int { return strings.Compare(p.User, q.User) })
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(mustJSON(map[string]any{"people": list, "isComplete": isComplete}))
}

// push pushes to a user, as curl does, but in-process.
func (a *app) push(w http.ResponseWriter, r *http.Request) {
	if _, ok := identityOf(r); !ok {
		http.Error(w, "you are not logged in", http.StatusUnauthorized)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	to, text := r.PostFormValue("to"), r.PostFormValue("text")
	if to == "" || !isName(to) {
		http.Error(w, "this cannot be anybody's name", http.StatusBadRequest)
		return
	}
	outcomes, err := a.worker.User(to).Push(r.Context(), wspush.Text, []byte(text))
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(mustJSON(map[string]int{"written": outcomes.Written, "buffered": outcomes.Buffered}))
}

// login says who this browser's pages are. An application would ask for a password.
func login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	_ = r.ParseForm() // an error leaves out names
	s, ok := readIdentity(r.PostForm, true)
	if !ok {
		http.Error(w, "A name has no slashes or control characters, and takes 1 to 256 bytes; a group’s takes at most 247.", http.StatusBadRequest)
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: url.Values{"as": {s.user}, "group": {s.group}}.Encode(), Path: "/",
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: r.TLS != nil,
	})
}

// logout makes this browser forget that. Pages ask for it when they have been closed with the code loggedOut.
func logout(w http.ResponseWriter, _ *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1})
}

// logoutEverywhere closes all connections of the user, on all workers. An application would first end her logins in its database, so
// that none of her clients can come back; here each of them is asked to forget its cookie.
func (a *app) logoutEverywhere(w http.ResponseWriter, r *http.Request) {
	s, ok := identityOf(r)
	if !ok {
		http.Error(w, "you are not logged in", http.StatusUnauthorized)
		return
	}
	if _, err := a.worker.User(s.user).Disconnect(r.Context(), loggedOut, "logged out"); err != nil {
		fail(w, err)
		return
	}
	logout(w, r)
}

// fail tells the page why something could not be done.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable // the directory does not answer, somebody does not read, the worker is shutting down
	switch {
	case errors.Is(err, wspush.ErrGone):
		status = http.StatusGone
	case errors.Is(err, wspush.ErrUnknown):
		status = http.StatusGatewayTimeout
	}
	http.Error(w, strings.TrimPrefix(err.Error(), "wspush: "), status)
}

func servePage(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "+
		"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	_, _ = w.Write(page)
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and times can always be encoded
	}
	return data
}
