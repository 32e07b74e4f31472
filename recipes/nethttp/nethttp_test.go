package nethttp

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/recipes/internal/recipetest"
)

func TestMain(m *testing.M) { testutil.Main(m) }

func TestRoutes(t *testing.T) {
	var out recipetest.Log
	worker := recipetest.NewWorker(t, nil)
	app, err := Routes(worker, recipetest.Users, slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	server := testutil.Serve(t, app)

	client := testutil.Dial(t, server, testutil.Options{Header: recipetest.Cookie()})
	recipetest.Arrives(t, client)
	if who := recipetest.OnlyConn(t, worker).Value(); who != "ada" {
		t.Errorf("the connection is %v's, want ada's", who)
	}
	out.Await(t, "path=/ws status=101")

	recipetest.Refused(t, server, testutil.Options{}, http.StatusUnauthorized)
	recipetest.Refused(t, server, testutil.Options{Header: http.Header{"Cookie": {"session=old"}}}, http.StatusUnauthorized)
}

func TestNotify(t *testing.T) {
	worker := recipetest.NewWorker(t, nil)
	everyone := func(session string) (string, bool) { return session, true }
	app, err := Routes(worker, everyone, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := testutil.Serve(t, app)
	clients := map[string][]*testutil.Client{}
	for _, name := range []string{"ada", "bob", "ada"} {
		c := testutil.Dial(t, server, testutil.Options{Header: http.Header{"Cookie": {"session=" + name}}})
		c.Text() // once it has been greeted, it can be found
		clients[name] = append(clients[name], c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if n := Notify(ctx, worker, "ada", "for ada"); n != 2 {
		t.Errorf("written to %d connections of ada's, want 2", n)
	}
	if n := Notify(ctx, worker, "bob", "for bob"); n != 1 {
		t.Errorf("written to %d connections of bob's, want 1", n)
	}
	for name, theirs := range clients {
		for _, c := range theirs {
			c.Expect(testutil.Text, "for "+name)
		}
	}
}

// Without the middleware, nobody gets in.
func TestForgottenMiddleware(t *testing.T) {
	sockets, err := newSockets(recipetest.NewWorker(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	recipetest.Refused(t, testutil.Serve(t, sockets), testutil.Options{Header: recipetest.Cookie()}, http.StatusServiceUnavailable)
}

func TestMounted(t *testing.T) {
	var out recipetest.Log
	worker, app, err := Mounted("https://app-3.example.com", "t0ken", slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	recipetest.StopLater(t, worker)
	server := testutil.Serve(t, app)
	client := testutil.Dial(t, server, testutil.Options{})
	greeting := client.Text()
	conn := recipetest.OnlyConn(t, worker)
	if want := "https://" + conn.ID() + "@app-3.example.com/ws"; greeting != want {
		t.Errorf("greeted with %q, want %q", greeting, want)
	}
	recipetest.Ways{Base: server, Token: "t0ken", Conn: conn, Client: client}.Try(t)
	out.Await(t, "path=/ws status=101")
	out.HasNot(t, conn.ID())
}
