package withgin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/recipes/internal/recipetest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode) // prints no routes
	testutil.Main(m)
}

func TestRoutes(t *testing.T) {
	var out recipetest.Log
	worker := recipetest.NewWorker(t, nil)
	app, err := Routes(worker, recipetest.Users, &out)
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
	out.Await(t, "| 101 |")

	recipetest.Refused(t, server, testutil.Options{}, http.StatusUnauthorized)
	recipetest.Refused(t, server, testutil.Options{Header: http.Header{"Cookie": {"session=old"}}}, http.StatusUnauthorized)
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
	worker, app, err := Mounted("https://app-3.example.com", "t0ken", &out)
	if err != nil {
		t.Fatal(err)
	}
	recipetest.StopLater(t, worker)
	server := testutil.Serve(t, app)
	client := testutil.Dial(t, server, testutil.Options{Header: http.Header{"X-Forwarded-For": {"203.0.113.66"}}})
	greeting := client.Text()
	conn := recipetest.OnlyConn(t, worker)
	if want := "https://" + conn.ID() + "@app-3.example.com/ws"; greeting != want {
		t.Errorf("greeted with %q, want %q", greeting, want)
	}
	recipetest.Ways{Base: server, Token: "t0ken", Conn: conn, Client: client}.Try(t)
	out.Await(t, "| 101 |")
	out.HasNot(t, conn.ID())
	if log := out.String(); strings.Contains(log, "203.0.113.66") {
		t.Errorf("the log has the address that the client made up:\n%s", log)
	}
}
