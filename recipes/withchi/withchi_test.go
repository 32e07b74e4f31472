package withchi

import (
	"log"
	"net/http"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/recipes/internal/recipetest"
)

func TestMain(m *testing.M) { testutil.Main(m) }

func TestRoutes(t *testing.T) {
	var out recipetest.Log
	worker := recipetest.NewWorker(t, nil)
	app, err := Routes(worker, recipetest.Users, log.New(&out, "", 0))
	if err != nil {
		t.Fatal(err)
	}
	server := testutil.Serve(t, app)

	header := recipetest.Cookie()
	header.Set("X-Forwarded-For", "192.0.2.66, 203.0.113.7") // the client made up the first one
	client := testutil.Dial(t, server, testutil.Options{Header: header})
	recipetest.Arrives(t, client)
	if who, want := recipetest.OnlyConn(t, worker).Value(), (Visitor{Name: "ada", IP: "203.0.113.7"}); who != want {
		t.Errorf("the connection is %v's, want %v's", who, want)
	}
	out.Await(t, "/ws HTTP/1.1\" from 203.0.113.7 - 101 ")

	recipetest.Refused(t, server, testutil.Options{}, http.StatusUnauthorized)
	recipetest.Refused(t, server, testutil.Options{Header: http.Header{"Cookie": {"session=old"}}}, http.StatusUnauthorized)

	if status, encoding := get(t, server+"/"); status != http.StatusOK || encoding != "gzip" {
		t.Errorf("the page is answered with %d, encoded as %q", status, encoding)
	}
}

// get returns the status, and how the body is encoded for a client that accepts gzip.
func get(t *testing.T, url string) (status int, encoding string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	r.Header.Set("Accept-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("Content-Encoding")
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
	worker, app, err := Mounted("https://app-3.example.com", "t0ken", log.New(&out, "", 0))
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
	out.Await(t, " - 101 ")
	out.HasNot(t, conn.ID())
}
