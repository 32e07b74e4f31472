package snippets

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi"
	"github.com/aws/aws-sdk-go-v2/service/apigatewaymanagementapi/types"
	"github.com/gorilla/websocket"
	"github.com/olahol/melody"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// migrating.md: from nginx-websocket-module -----------------------------------------------------------------------------------

// afterSeed is what takes the place of nginx-websocket-module.conf.
func afterSeed() (*wspush.Worker, http.Handler, *wspush.HandlerOptions, error) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{Listen: ":0"}) // every interface, as the module does
	if err != nil {
		return nil, nil, nil, err
	}
	opts := &wspush.HandlerOptions{
		PingInterval: 10 * time.Second,
		IdleTimeout:  15 * time.Second,
		OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
			_, _ = c.Push(c.Context(), typ, data) // the module's echo; leave it out if you have no use for it
		},
	}
	handler, err := wspush.NewHandler(worker, opts)
	if err != nil {
		return nil, nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	return worker, mux, opts, nil
}

func TestFromTheModule(t *testing.T) {
	before, err := os.ReadFile("nginx-websocket-module.conf")
	if err != nil {
		t.Fatal(err)
	}
	worker, mux, opts, err := afterSeed()
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	for name, got := range map[string]time.Duration{"pingintvl": opts.PingInterval, "idleintvl": opts.IdleTimeout} {
		match := regexp.MustCompile(name + `=(\d+)`).FindSubmatch(before)
		if match == nil {
			t.Fatalf("there is no %s", name)
		}
		if ms, err := strconv.Atoi(string(match[1])); err != nil || got != time.Duration(ms)*time.Millisecond {
			t.Errorf("%s is %s ms, and %v here", name, match[1], got)
		}
	}
	conn := dialClient(t, serveFor(t, mux)+"/ws")
	address, _, _ := strings.Cut(conn.next(), ",") // the greeting, as the module's: one address for each of the machine's
	if got := postText(t, address, "123"); got != http.StatusNoContent {
		t.Fatalf("the push is answered %d", got)
	}
	if got := conn.next(); got != "123" {
		t.Errorf("received %q", got)
	}
	conn.say("echo")
	if got := conn.next(); got != "echo" {
		t.Errorf("received %q", got)
	}
}

// migrating.md: from a hub ----------------------------------------------------------------------------------------------------

// site is what a hub is for, whatever it is made of: it serves /ws, pushes to all connections of a user, and to everyone.
type site interface {
	http.Handler
	push(ctx context.Context, user, text string) (sent int)
	broadcast(ctx context.Context, text string)
	stop(ctx context.Context)
}

// userOf says who a request is from. In earnest it looks at the session's cookie.
func userOf(r *http.Request) (string, error) {
	if user := r.URL.Query().Get("user"); user != "" {
		return user, nil
	}
	return "", fmt.Errorf("%w: not signed in", wspush.ErrUnauthorized)
}

// The hub, on gorilla/websocket.

const (
	writeWait  = 10 * time.Second
	pongWait   = 60 * time.Second
	pingPeriod = 54 * time.Second // less than pongWait
)

type hub struct {
	upgrader websocket.Upgrader
	running  sync.WaitGroup // the connections' requests

	mu      sync.Mutex // guards clients, and sending to those that are in it
	clients map[*client]bool
}

type client struct {
	user string
	conn *websocket.Conn
	send chan []byte // closed when the client is no longer in the hub
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, err := userOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	conn, err := h.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	h.running.Add(1)
	defer h.running.Done()
	c := &client{user: user, conn: conn, send: make(chan []byte, 64)}
	c.send <- []byte("hello, " + user)
	h.mu.Lock()
	h.clients[c] = true
	h.mu.Unlock()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write()
	}()
	c.read(h)
	h.mu.Lock()
	h.remove(c)
	h.mu.Unlock()
	<-written
}

// remove takes a client out of the hub; mu is held.
func (h *hub) remove(c *client) {
	if h.clients[c] {
		delete(h.clients, c)
		close(c.send)
	}
}

// read reads until the connection ends. What a client says goes to everyone.
func (c *client) read(h *hub) {
	c.conn.SetReadLimit(64 << 10)
	_ = c.conn.SetReadDeadline(time.Now().Add(pongWait))
	c.conn.SetPongHandler(func(string) error { return c.conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		_, data, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		h.broadcast(context.Background(), string(data))
	}
}

// write writes what is sent, and pings, since a connection of gorilla/websocket takes one writer at a time.
func (c *client) write() {
	ticker := time.NewTicker(pingPeriod)
	defer ticker.Stop()
	defer c.conn.Close()
	for {
		var err error
		select {
		case data, ok := <-c.send:
			_ = c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			if !ok {
				_ = c.conn.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			err = c.conn.WriteMessage(websocket.TextMessage, data)
		case <-ticker.C:
			_ = c.conn.SetWriteDeadline(time.Now().Add(writeWait))
			err = c.conn.WriteMessage(websocket.PingMessage, nil)
		}
		if err != nil {
			return
		}
	}
}

func (h *hub) push(_ context.Context, user, text string) (sent int) {
	return h.each(text, func(c *client) bool { return c.user == user })
}

func (h *hub) broadcast(_ context.Context, text string) {
	h.each(text, func(*client) bool { return true })
}

// each hands a message to the clients that match. Whether it gets anywhere, nobody will know.
func (h *hub) each(text string, match func(*client) bool) (sent int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		if !match(c) {
			continue
		}
		select {
		case c.send <- []byte(text):
			sent++
		default: // it does not read
			h.remove(c)
		}
	}
	return sent
}

func (h *hub) stop(context.Context) {
	h.mu.Lock()
	for c := range h.clients {
		h.remove(c)
	}
	h.mu.Unlock()
	h.running.Wait()
}

// The same with melody.

type melodySite struct{ *melody.Melody }

func newMelodySite() melodySite {
	m := melody.New()
	m.Config.MaxMessageSize = 64 << 10 // the default is 512
	m.HandleConnect(func(s *melody.Session) {
		_ = s.Write([]byte("hello, " + s.MustGet("user").(string)))
	})
	m.HandleMessage(func(_ *melody.Session, data []byte) {
		_ = m.Broadcast(data)
	})
	return melodySite{m}
}

func (s melodySite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, err := userOf(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	_ = s.HandleRequestWithKeys(w, r, map[string]any{"user": user})
}

func (s melodySite) push(_ context.Context, user, text string) (sent int) {
	_ = s.BroadcastFilter([]byte(text), func(s *melody.Session) bool {
		if s.MustGet("user") != user {
			return false
		}
		sent++ // that is, queued, or dropped where the queue is full
		return true
	})
	return sent
}

func (s melodySite) broadcast(_ context.Context, text string) { _ = s.Broadcast([]byte(text)) }

func (s melodySite) stop(context.Context) { _ = s.Close() }

// The same with wspush.

type wspushSite struct {
	*wspush.Handler
	worker *wspush.Worker
}

func newWspushSite() (*wspushSite, error) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		return nil, err
	}
	s := &wspushSite{worker: worker}
	s.Handler, err = wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second,
		Accept:       func(r *http.Request) (any, error) { return userOf(r) },
		User:         func(_ *http.Request, user any) string { return user.(string) },
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			return wspush.Text, []byte("hello, " + c.User())
		},
		OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) {
			s.broadcast(context.Background(), string(data))
		},
	})
	return s, err
}

func (s *wspushSite) push(ctx context.Context, user, text string) (sent int) {
	outcomes, _ := s.worker.User(user).Push(ctx, wspush.Text, []byte(text)) // ErrGone, for one, if the user is not there
	return outcomes.Written                                                 // every byte is written to so many sockets
}

// broadcast waits for nobody, so that OnMessage is not held up by a client that does not read.
func (s *wspushSite) broadcast(ctx context.Context, text string) {
	for c := range s.worker.Conns() {
		if err := c.Send(ctx, wspush.Text, []byte(text), nil); errors.Is(err, wspush.ErrBusy) {
			_ = c.Close(1013, "too slow") // MaxPending bytes are waiting for it
		}
	}
}

func (s *wspushSite) stop(ctx context.Context) { _ = s.worker.Shutdown(ctx) }

// All of them do the same for clients that read what they are sent.
func TestFromAHub(t *testing.T) {
	after, err := newWspushSite()
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]site{
		"gorilla": &hub{clients: make(map[*client]bool)},
		"melody":  newMelodySite(),
		"wspush":  after,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			defer s.stop(ctx)
			url := serveFor(t, s)
			if resp, err := http.Get(url); err != nil {
				t.Fatal(err)
			} else if resp.Body.Close(); resp.StatusCode < 400 {
				t.Errorf("who is no client is answered %s", resp.Status)
			}
			var all, ada []*pageClient
			for _, user := range []string{"ada", "ada", "bob"} {
				c := dialClient(t, url+"?user="+user)
				if got, want := c.next(), "hello, "+user; got != want {
					t.Fatalf("received %q, want %q", got, want)
				}
				if all = append(all, c); user == "ada" {
					ada = append(ada, c)
				}
			}
			expect := func(conns []*pageClient, want string) {
				t.Helper()
				for i, c := range conns {
					if got := c.next(); got != want {
						t.Errorf("connection %d received %q, want %q", i, got, want)
					}
				}
			}
			if sent := s.push(ctx, "ada", "for ada"); sent != 2 {
				t.Errorf("sent to %d of ada's two tabs", sent)
			}
			expect(ada, "for ada")
			if sent := s.push(ctx, "eve", "for eve"); sent != 0 {
				t.Errorf("sent to %d tabs of nobody's", sent)
			}
			s.broadcast(ctx, "for all")
			expect(all, "for all")
			all[2].say("bob says")
			expect(all, "bob says")
		})
	}
}

// A client that does not read holds up nobody: what the others say goes on reaching them, and the handler goes on reading it.
func TestHubStalled(t *testing.T) {
	after, err := newWspushSite()
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, after.worker)
	url := serveFor(t, after)
	stalled := dialClient(t, url+"?user=eve")
	stalled.next()
	var all []*pageClient
	for _, user := range []string{"ada", "bob"} {
		c := dialClient(t, url+"?user="+user)
		c.next()
		all = append(all, c)
	}
	text := strings.Repeat("x", 60<<10)
	for i := range 200 { // far more than the kernel holds for one client
		begin := time.Now()
		all[0].say(text)
		for _, c := range all {
			if got := c.next(); got != text {
				t.Fatalf("message %d: received %d bytes", i, len(got))
			}
		}
		if took := time.Since(begin); took > 4*time.Second { // whoever waits for eve does so for 5 s
			t.Fatalf("message %d took %v", i, took)
		}
	}
	if n := after.worker.Len(); n != 2 {
		t.Errorf("%d clients are left, of two that read", n)
	}
}

// What none of the hubs can: another process pushes to one of the connections, and learns what became of it.
func TestAfterAHub(t *testing.T) {
	s, err := newWspushSite()
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, s.worker)
	c := dialClient(t, serveFor(t, s)+"/ws?user=ada")
	c.next()
	for conn := range s.worker.Conns() {
		if got := postText(t, conn.PathAddresses()[0], "from elsewhere"); got != http.StatusNoContent {
			t.Errorf("answered %d", got)
		}
	}
	if got := c.next(); got != "from elsewhere" {
		t.Errorf("received %q", got)
	}
}

// migrating.md: from users, groups and rooms elsewhere ------------------------------------------------------------------------

func mayJoin(user, room string) bool { return user != "eve" || room == "lobby" }

// afterRooms is where clients with users and groups connect.
func afterRooms(worker *wspush.Worker) (*wspush.Handler, error) {
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second,
		Accept:       func(r *http.Request) (any, error) { return userOf(r) },
		User:         func(_ *http.Request, user any) string { return user.(string) },
		Groups:       func(*wspush.Conn) []string { return []string{"everybody"} },
		OnMessage: func(c *wspush.Conn, _ wspush.MessageType, data []byte) {
			room, ok := strings.CutPrefix(string(data), "join ")
			if ok && mayJoin(c.User(), room) {
				_ = c.Join(c.Context(), room) // until it leaves, or ends
			}
		},
	})
	return handler, err
}

func TestFromRooms(t *testing.T) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens("secret")})
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := afterRooms(worker)
	if err != nil {
		t.Fatal(err)
	}
	url := serveFor(t, handler)
	connect := func(user string) *pageClient {
		c := dialClient(t, url+"?user="+user)
		c.next() // the greeting
		return c
	}
	ann, phone, eve := connect("ann"), connect("ann"), connect("eve")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	here := func(to *wspush.Recipients) (n int) {
		for _, err := range to.Members(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	ann.say("join room-7")
	eve.say("join room-7")
	eve.say("join lobby")
	testutil.Eventually(t, "the rooms to be joined", func() bool { return here(worker.Group("room-7")) == 1 && here(worker.Group("lobby")) == 1 })

	data := []byte("hello")
	outcomes, err := worker.User("ann").Push(ctx, wspush.Text, data)
	if err != nil || outcomes.Written != 2 {
		t.Error(outcomes, err)
	}
	receives(t, ann, "hello")
	receives(t, phone, "hello")

	conn := anyOf(worker, "eve")
	_, err = worker.Group("everybody").Except(conn).Push(ctx, wspush.Text, []byte("news"))
	if err != nil {
		t.Error(err)
	}
	receives(t, ann, "news")
	receives(t, phone, "news")
	if got := postWith(t, "http://"+worker.Addr().String()+"/@groups/room-7", "Authorization", "Bearer secret"); got != http.StatusOK {
		t.Errorf("answered %d", got)
	}
	ann.next()
	if err := conn.Leave(ctx, "lobby"); err != nil || here(worker.Group("lobby")) != 0 {
		t.Error("eve is still in the lobby", err)
	}
	closed, err := worker.User("ann").Disconnect(ctx, 4001, "logged out")
	if err != nil || closed != 2 {
		t.Error(closed, err)
	}
}

// migrating.md: from API Gateway ----------------------------------------------------------------------------------------------

// table is where connections are remembered: DynamoDB, as a rule.
type table interface {
	put(ctx context.Context, user, connection string) error
	remove(ctx context.Context, user, connection string) error
	of(ctx context.Context, user string) ([]string, error)
}

// lambda is the function behind the routes of a WebSocket API.
type lambda struct {
	connections table
	receive     func(user, text string)
}

func (l *lambda) handle(ctx context.Context, e events.APIGatewayWebsocketProxyRequest) (events.APIGatewayProxyResponse, error) {
	user, _ := e.RequestContext.Authorizer.(map[string]any)["principalId"].(string)
	var err error
	switch id := e.RequestContext.ConnectionID; e.RequestContext.RouteKey {
	case "$connect":
		if user == "" {
			return events.APIGatewayProxyResponse{StatusCode: http.StatusForbidden}, nil
		}
		err = l.connections.put(ctx, user, id)
	case "$disconnect":
		err = l.connections.remove(ctx, user, id)
	default:
		l.receive(user, e.Body)
	}
	return events.APIGatewayProxyResponse{StatusCode: http.StatusOK}, err
}

// notifier pushes to all connections of a user, through API Gateway or a worker: that is a matter of the endpoint.
type notifier struct {
	connections table
	api         *apigatewaymanagementapi.Client
}

func (n *notifier) notify(ctx context.Context, user, text string) error {
	connections, err := n.connections.of(ctx, user)
	for _, id := range connections {
		_, e := n.api.PostToConnection(ctx, &apigatewaymanagementapi.PostToConnectionInput{
			ConnectionId: &id, Data: []byte(text),
		})
		var gone *types.GoneException
		if errors.As(e, &gone) {
			e = n.connections.remove(ctx, user, id)
		}
		err = errors.Join(err, e)
	}
	return err
}

// newAPI makes a client of API Gateway's management API. A worker does not verify the signature.
func newAPI(endpoint string, credentials aws.CredentialsProvider) *apigatewaymanagementapi.Client {
	return apigatewaymanagementapi.New(apigatewaymanagementapi.Options{
		Region:       "eu-west-1",
		Credentials:  credentials,
		BaseEndpoint: &endpoint, // https://abcdef123.execute-api.eu-west-1.amazonaws.com/prod before, https://push.example.com/ws after
		Retryer:      aws.NopRetryer{},
	})
}

// afterAPIGateway is what takes the place of the API with its routes, in each worker.
func afterAPIGateway(connections table, receive func(user, text string), worker *wspush.Worker) (http.Handler, error) {
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second,
		Accept:       func(r *http.Request) (any, error) { return userOf(r) }, // the authorizer
		Greeting: func(*wspush.Conn) (wspush.MessageType, []byte) { // API Gateway sends none
			return wspush.Text, nil
		},
		OnConnect: func(c *wspush.Conn) { // $connect
			if err := connections.put(c.Context(), c.Value().(string), c.SealedID()); err != nil {
				_ = c.Close(1013, "try again later")
			}
		},
		OnMessage: func(c *wspush.Conn, _ wspush.MessageType, data []byte) { // $default
			receive(c.Value().(string), string(data))
		},
		OnDisconnect: func(c *wspush.Conn, _ error) { // $disconnect
			_ = connections.remove(context.Background(), c.Value().(string), c.SealedID())
		},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	mux.Handle("/ws/@connections/", worker) // behind what authorizes publishers: a token, a certificate, the network
	return mux, nil
}

// inMemory is a table for these tests.
type inMemory struct {
	changed chan struct{} // gets an element for each change
	mu      sync.Mutex    // guards rows
	rows    [][2]string   // user, connection
}

func (m *inMemory) put(_ context.Context, user, connection string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = append(m.rows, [2]string{user, connection})
	m.changed <- struct{}{}
	return nil
}

func (m *inMemory) remove(_ context.Context, user, connection string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = slices.DeleteFunc(m.rows, func(row [2]string) bool { return row == [2]string{user, connection} })
	m.changed <- struct{}{}
	return nil
}

func (m *inMemory) of(_ context.Context, user string) (connections []string, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, row := range m.rows {
		if row[0] == user {
			connections = append(connections, row[1])
		}
	}
	return connections, nil
}

func nobody(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "NOBODY", SecretAccessKey: "secret"}, nil
}

// The Lambda function and the notifier, with something that answers as API Gateway does.
func TestBeforeAPIGateway(t *testing.T) {
	sent := make(chan string, 10)
	gateway := serveFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if path.Base(r.URL.Path) != "L0SM9cOFvHcCIhw=" {
			w.Header().Set("x-amzn-ErrorType", "GoneException")
			w.WriteHeader(http.StatusGone)
			return
		}
		sent <- r.Method + " " + r.URL.Path + " " + string(body)
	}))
	connections := &inMemory{changed: make(chan struct{}, 10)}
	var received []string
	l := &lambda{connections, func(user, text string) { received = append(received, user+": "+text) }}
	event := func(route, id, user, body string) int {
		t.Helper()
		resp, err := l.handle(t.Context(), events.APIGatewayWebsocketProxyRequest{Body: body, RequestContext: events.APIGatewayWebsocketProxyRequestContext{
			RouteKey: route, ConnectionID: id, Authorizer: map[string]any{"principalId": user},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	if got := event("$connect", "x", "", ""); got != http.StatusForbidden {
		t.Errorf("nobody is answered %d", got)
	}
	event("$connect", "L0SM9cOFvHcCIhw=", "ada", "")
	event("$connect", "gone=", "ada", "")
	event("$default", "L0SM9cOFvHcCIhw=", "ada", "hello")
	n := &notifier{connections, newAPI(gateway+"/prod", aws.CredentialsProviderFunc(nobody))}
	if err := n.notify(t.Context(), "ada", "for ada"); err != nil {
		t.Fatal(err)
	}
	if got, want := <-sent, "POST /prod/@connections/L0SM9cOFvHcCIhw= for ada"; got != want {
		t.Errorf("sent %q, want %q", got, want)
	}
	if got, _ := connections.of(t.Context(), "ada"); len(got) != 1 {
		t.Errorf("remembered: %q", got)
	}
	event("$disconnect", "L0SM9cOFvHcCIhw=", "ada", "")
	if got, _ := connections.of(t.Context(), "ada"); len(got) != 0 || !reflect.DeepEqual(received, []string{"ada: hello"}) {
		t.Errorf("remembered: %q, received: %q", got, received)
	}
}

// The same notifier with workers: its endpoint leads to one of them, and the connection is at another.
func TestAfterAPIGateway(t *testing.T) {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	connections := &inMemory{changed: make(chan struct{}, 10)}
	received := make(chan string, 10)
	var urls [2]string
	for i := range urls {
		worker, err := wspush.NewWorker(&wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: [][]byte{key}}})
		if err != nil {
			t.Fatal(err)
		}
		shutdownAfter(t, worker)
		mux, err := afterAPIGateway(connections, func(user, text string) { received <- user + ": " + text }, worker)
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = serveFor(t, mux)
	}
	c := dialClient(t, urls[0]+"/ws?user=ada")
	<-connections.changed
	if err := connections.put(t.Context(), "ada", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"); err != nil { // long gone
		t.Fatal(err)
	}
	<-connections.changed
	n := &notifier{connections, newAPI(urls[1]+"/ws", aws.CredentialsProviderFunc(nobody))}
	if err := n.notify(t.Context(), "ada", "for ada"); err != nil {
		t.Fatal(err)
	}
	if got := c.next(); got != "for ada" {
		t.Errorf("received %q", got)
	}
	<-connections.changed
	if got, _ := connections.of(t.Context(), "ada"); len(got) != 1 {
		t.Errorf("%d connections are remembered", len(got))
	}
	c.say("hello")
	if got := <-received; got != "ada: hello" {
		t.Errorf("the worker received %q", got)
	}
	c.conn.Close()
	<-connections.changed
	if got, _ := connections.of(t.Context(), "ada"); len(got) != 0 {
		t.Errorf("%d connections are remembered after the last has left", len(got))
	}
}
