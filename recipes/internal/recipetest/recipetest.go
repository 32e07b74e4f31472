// Package recipetest has helpers shared by the recipes' tests.
package recipetest

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// NewWorker makes a Worker that is shut down when the test ends.
func NewWorker(t testing.TB, opts *wspush.WorkerOptions) *wspush.Worker {
	t.Helper()
	w, err := wspush.NewWorker(opts)
	if err != nil {
		t.Fatal(err)
	}
	StopLater(t, w)
	return w
}

// StopLater shuts a Worker down when the test ends.
func StopLater(t testing.TB, w *wspush.Worker) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// Users is a session store with a single user, ada.
func Users(session string) (name string, ok bool) { return "ada", session == "s3ss10n" }

// Cookie is the header of a client that has ada's session.
func Cookie() http.Header { return http.Header{"Cookie": {"session=s3ss10n"}} }

// Post posts text with a bearer token, if there is one, on a connection of its own. It returns the status.
func Post(t testing.TB, address, token, text string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// Arrives reads the greeting, posts to the first address in it, and ends the test unless the message arrives. It returns
// the address.
func Arrives(t testing.TB, c *testutil.Client) (address string) {
	t.Helper()
	address, _, _ = strings.Cut(c.Text(), ",")
	if u, err := url.Parse(address); err != nil || u.Host == "" {
		t.Fatalf("greeted with %q, which is not an address: %v", address, err)
	}
	if status := Post(t, address, "", "Your order has shipped"); status != http.StatusNoContent {
		t.Fatalf("a POST to the address in the greeting is answered with %d", status)
	}
	c.Expect(testutil.Text, "Your order has shipped")
	return address
}

// Refused ends the test unless the handshake is refused with this status. It returns the body of the answer.
func Refused(t testing.TB, server string, opts testutil.Options, status int) (body string) {
	t.Helper()
	_, resp, err := testutil.TryDial(t, server, opts)
	if err == nil || resp == nil || resp.StatusCode != status {
		t.Fatalf("the handshake: %v, want it refused with %d", err, status)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// OnlyConn returns the worker's only connection.
func OnlyConn(t testing.TB, w *wspush.Worker) *wspush.Conn {
	t.Helper()
	if n := w.Len(); n != 1 {
		t.Fatalf("the worker has %d connections, want 1", n)
	}
	for c := range w.Conns() {
		return c
	}
	t.Fatal("the connection has ended")
	return nil
}

// Ways are the ways to push to a worker that is mounted on the application's own server at base + "/ws".
type Ways struct {
	Base, Token string
	Conn        *wspush.Conn
	Client      *testutil.Client // that has been greeted
}

// Try pushes in each way, and ends the test unless every push arrives.
func (w Ways) Try(t testing.TB) {
	t.Helper()
	scheme, host, _ := strings.Cut(w.Base, "://")
	id := w.Conn.ID()
	addresses := map[string]string{
		"userinfo":     scheme + "://" + id + ":" + w.Token + "@" + host + "/ws",
		"path":         w.Base + "/ws/@connections/" + id,
		"escaped path": w.Base + "/ws/%40connections/" + id,
	}
	for way, address := range addresses {
		token := w.Token
		if way == "userinfo" { // has the token as its password
			token = ""
		}
		if status := Post(t, address, token, way); status != http.StatusNoContent {
			t.Errorf("%s: a push is answered with %d", way, status)
			continue
		}
		w.Client.Expect(testutil.Text, way)
	}
	if status := Post(t, addresses["path"], "wrong", "no"); status != http.StatusUnauthorized {
		t.Errorf("a push with a wrong token is answered with %d, want 401", status)
	}
	w.bulk(t)
}

// bulk pushes with a bulk request, which must not be redirected: its body cannot be sent twice.
func (w Ways) bulk(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	body := io.MultiReader(strings.NewReader(`{"to":"` + w.Conn.ID() + `","text":"bulk"}`)) // hides the type, so the body cannot be read twice
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.Base+"/ws/@connections", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	r.Header.Set("Authorization", "Bearer "+w.Token)
	r.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if want := `{"line":1,"status":204}` + "\n" + `{"lines":1}` + "\n"; err != nil || string(answer) != want {
		t.Fatalf("a bulk request is answered with %d %q, %v, want %q", resp.StatusCode, answer, err, want)
	}
	w.Client.Expect(testutil.Text, "bulk")
}
