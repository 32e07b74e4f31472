package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

func TestMain(m *testing.M) { testutil.Main(m) }

const (
	id       = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	id2      = "0f8fad5b-d9cb-469f-a165-70867728950e"
	sealedID = "v1.c2VhbGVkLXRva2VuLW9mLWEtY29ubmVjdGlvbg"
)

// A publisher needs nothing of what a worker is made of.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	ours := map[string]bool{
		"github.com/wspush/wspush/publisher": true, "github.com/wspush/wspush/internal/wire": true, "github.com/wspush/wspush/internal/bulk": true,
		"github.com/wspush/wspush/internal/sent": true, "github.com/wspush/wspush/internal/address": true,
	}
	for pkg := range strings.FieldsSeq(string(out)) {
		if first, _, _ := strings.Cut(pkg, "/"); strings.Contains(first, ".") && !ours[pkg] {
			t.Errorf("it depends on %s", pkg)
		}
	}
}

// newClient makes a Client that may push to the test's own servers, unless opts say otherwise, and that the test's end stops.
func newClient(t testing.TB, opts publisher.Options) *publisher.Client {
	t.Helper()
	if opts.Hosts == nil && opts.Prefixes == nil && opts.Allow == nil {
		opts.Hosts = []string{"127.0.0.1"}
	}
	c, err := publisher.New(&opts)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// outcome returns the error of a push, for tests to which its receipt does not matter.
func outcome(_ publisher.Receipt, err error) error { return err }

// addressOf is the address of a connection at a server, in the path form.
func addressOf(server string) string { return server + "/ws/@connections/" + id }

// context10 lasts for 10 s, so that a test fails rather than hangs.
func context10(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// push pushes a text to the address.
func push(t testing.TB, c *publisher.Client, address string) error {
	t.Helper()
	return inError(t, outcome(c.Push(context10(t), address, publisher.Text, []byte("hello"))))
}

// inError fails if the error, or any in it, tells an ID, sealed or not, or a secret, and returns it.
func inError(t testing.TB, err error) error {
	t.Helper()
	if err == nil {
		return nil
	}
	texts := []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)}
	var e *publisher.Error
	if errors.As(err, &e) {
		texts = append(texts, fmt.Sprintf("%+v", *e), fmt.Sprintf("%#v", *e))
		for _, inner := range e.Unwrap() {
			texts = append(texts, inner.Error(), fmt.Sprintf("%#v", inner))
		}
	}
	for _, text := range texts {
		for _, secret := range []string{id[:24], id[12:], id2[:24], sealedID[3:20], "bearer-secret", "wspush: wspush"} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
				t.Errorf("an error tells %q: %s", secret, text)
			}
		}
	}
	return err
}

// says answers every request in the same way.
func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// problem is a worker's answer.
func problem(status int, kind string) http.HandlerFunc {
	return says(status, "application/problem+json", fmt.Sprintf(`{"type":"urn:wspush:%s","status":%d,"detail":"words about %s"}`, kind, status, id))
}

// nobody is a server's URL where nothing listens.
func nobody(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// raw serves each connection with a function, which the test's end waits for.
func raw(t testing.TB, serve func(n int, conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			serve(n, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return "http://" + l.Addr().String()
}
