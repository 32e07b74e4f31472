package snippets

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/publisher"
)

type session struct{ user string }

// sessionOf finds out who sends a request. Here that is whoever the cookie says.
func sessionOf(r *http.Request) (*session, error) {
	cookie, err := r.Cookie("user")
	if err != nil {
		return nil, wspush.ErrUnauthorized
	}
	return &session{strings.Clone(cookie.Value)}, nil
}

func roomsOf(*session) []string { return []string{"everybody"} }

// newUsers makes a worker and a Handler whose clients are users.
func newUsers(authorize func(*http.Request) error) (*wspush.Worker, *wspush.Handler, error) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{AuthorizePush: authorize})
	if err != nil {
		return nil, nil, err
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) {
			s, err := sessionOf(r) // who is it?
			return s, err
		},
		User:   func(_ *http.Request, value any) string { return value.(*session).user },
		Groups: func(c *wspush.Conn) []string { return roomsOf(c.Value().(*session)) },
	})
	return worker, handler, err
}

// mayReach authorizes publishers by what they may push to.
func mayReach(backends func(token string) (user string, isAll bool)) func(*http.Request) error {
	return func(r *http.Request) error {
		target, err := wspush.TargetOf(r) // who is meant, as the worker reads the request
		if err != nil {
			return wspush.ErrForbidden
		}
		user, isAll := backends(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		switch {
		case isAll, user != "" && target == wspush.Target{User: user}:
			return nil
		case user == "":
			return wspush.ErrUnauthorized
		}
		return wspush.ErrForbidden
	}
}

func TestUsers(t *testing.T) {
	worker, handler, err := newUsers(mayReach(func(token string) (string, bool) {
		user, _ := strings.CutPrefix(token, "only-")
		return user, strings.HasPrefix(token, "all")
	}))
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	url := serveFor(t, handler)
	connect := func(user string) *pageClient {
		conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"/ws", http.Header{"Cookie": {"user=" + user}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c := &pageClient{t, conn}
		c.next() // the greeting
		return c
	}
	ann, bob := connect("ann"), connect("bob")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	data := []byte("hello")
	mail := func(string) { t.Error("she is there") }

	outcomes, err := worker.User("ann").Push(ctx, wspush.Text, data)
	switch {
	case errors.Is(err, wspush.ErrUnknown): // one of her connections may have it
	case err != nil: // nobody has it, and nobody will: a fallback is safe
		mail("ann")
	default: // outcomes.Written of her connections have it
	}
	if err != nil || outcomes.Written != 1 {
		t.Error(outcomes, err)
	}
	receives(t, ann, "hello")

	online := 0
	for member, err := range worker.Group("everybody").Members(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		online++
		_, _, _ = member.ID, member.User, member.Since
	}
	if online != 2 {
		t.Errorf("%d are online", online)
	}

	conn := anyOf(worker, "ann")
	_, err = worker.Group("everybody").Except(conn).Push(ctx, wspush.Text, data) // all but the one who has written it
	if err != nil {
		t.Error(err)
	}
	receives(t, bob, "hello")
	pushFromElsewhere(t, "http://"+worker.Addr().String()+"/ws", ann, bob)
	for path, want := range map[string]int{"only-bob /@users/bob": 200, "only-bob /@users/ann": 403, "only- /@users/ann": 401, "all /@groups/everybody": 200} {
		token, path, _ := strings.Cut(path, " ")
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+worker.Addr().String()+path, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s with %s: %s", path, token, resp.Status)
		}
	}
	closed, err := worker.User("ann").Disconnect(ctx, 4001, "logged out")
	if err != nil || closed != 1 {
		t.Error(closed, err)
	}
}

// recipients is what this application needs: *wspush.Recipients and *publisher.Recipients are such.
type recipients interface {
	Push(ctx context.Context, typ wspush.MessageType, data []byte, opts ...wspush.PushOption) (wspush.Outcomes, error)
	Disconnect(ctx context.Context, code int, reason string) (closed int, err error)
}

var _, _ recipients = (*wspush.Recipients)(nil), (*publisher.Recipients)(nil)

// pushFromElsewhere does with package publisher what TestUsers does in the process of the worker, which lets "all-backends" push.
func pushFromElsewhere(t *testing.T, url string, ann, bob *pageClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	data := []byte("hello")
	client, err := publisher.New(&publisher.Options{
		Workers:    []string{url},  // of a worker, or of a load balancer, such as https://push.example.com/ws
		Credential: "all-backends", // for the worker's AuthorizePush
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()

	outcomes, err := client.User("ann").Push(ctx, publisher.Text, data)
	if err != nil || outcomes.Written != 1 {
		t.Error(outcomes, err)
	}
	receives(t, ann, "hello")
	var id string
	for member, err := range client.User("ann").Members(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		id = member.ID
	}
	online := 0
	for member, err := range client.Group("everybody").Members(ctx) {
		if online++; err != nil || member.ID == "" {
			t.Error(member, err)
		}
	}
	if online != 2 {
		t.Errorf("%d are online", online)
	}
	address := id
	_, err = client.Group("everybody").Except(address).Push(ctx, publisher.Text, data) // or an ID, or several
	if err != nil {
		t.Error(err)
	}
	receives(t, bob, "hello")

	err = client.Join(ctx, id, "room-7") // and Leave: by a connection's ID or address
	if err != nil {
		t.Error(err)
	}
	pushInStream(ctx, t, client)
	receives(t, ann, "hello")
}

func pushInStream(ctx context.Context, t *testing.T, client *publisher.Client) {
	t.Helper()
	data := []byte("hello")
	stream := client.NewStream()
	defer stream.Close()
	outcomes, err := stream.PushTo(ctx, client.Group("room-7"), publisher.Text, data) // or SendTo, which does not wait
	if err != nil || outcomes.Written != 1 {
		t.Error(outcomes, err)
	}
}

// anyOf returns a connection of a user.
func anyOf(worker *wspush.Worker, user string) *wspush.Conn {
	for c := range worker.Conns() {
		if c.User() == user {
			return c
		}
	}
	return nil
}
