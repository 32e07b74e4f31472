package wspush

import (
	"bufio"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/wspush/wspush/internal/address"
)

// FuzzReadTarget reads an address out of any request that net/http lets through: it never panics, and accepts no ID that is not
// a UUID. A client that connects with the same request gets addresses that lead back to it.
func FuzzReadTarget(f *testing.F) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	for _, target := range []string{
		"/", "/ws", "/ws/", "/ws?x=1", "/ws/@connections/" + id, "/@connections/" + id, "//@connections/" + id, "/ws/%40connections/" + id,
		"/ws/@connections/" + id + "/", "/ws/@connections/", "/a,b", "/a%2Cb", "/a%2cb/%2F", "/%", "/%zz", "/ü", "//a//b", "//", "///", "/../a/./b",
		"http://host/ws", "http://host", "http:ws", "*", "ws", "/a;b", "/[a]", "/a\"b", "/a@b", "/%00", "/ws#x", "/?", "/ws/%3F%23", "http://u@h/",
	} {
		f.Add(target, "")
		f.Add(target, "Basic MWI5ZDZiY2QtYmJmZC00YjJkLTliNWQtYWI4ZGZiYmQ0YmVkOg==")
	}
	for _, authorization := range []string{"Basic", "Basic ", "Basic Og==", "basic MTI6", "Basic MTI", "Bearer x", "Basic MWI5ZDZiY2Q=:", "AWS4-HMAC-SHA256 x"} {
		f.Add("/ws", authorization)
	}
	uuid := regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	b, _, err := address.Bases([]string{"h.test:1", "http://[fd00::5]/a,b/"}, "tcp", nil, true)
	if err != nil {
		f.Fatal(err)
	}
	w := &shared{bases: b}
	f.Fuzz(func(t *testing.T, target, authorization string) {
		read := func(target, authorization string) *http.Request {
			request := "GET " + target + " HTTP/1.1\r\nHost: h.test\r\nAuthorization: " + authorization + "\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
			if err != nil {
				return nil
			}
			return r
		}
		r := read(target, authorization)
		if r == nil {
			return
		}
		if got, err := address.Read(r); err == nil && !uuid.MatchString(got.ID) {
			t.Errorf("%q with %q: took %q for an ID", target, authorization, got.ID)
		}

		path, err := pathOf(r)
		if err != nil {
			return // such a handshake is refused
		}
		c := newConn(w, r, path)
		if greeting := strings.Join(c.Addresses(), ","); strings.Count(greeting, ",") != len(b)-1 {
			t.Errorf("%q: there is a comma in an address of %q", target, greeting)
		}
		for _, at := range append(c.Addresses(), c.PathAddresses()...) {
			u, err := url.Parse(at)
			if err != nil {
				t.Fatalf("%q: the address %q is no URL: %v", target, at, err)
			}
			var prefix string
			if strings.HasPrefix(u.Host, "[") {
				prefix = "/a%2Cb" // which a proxy takes off
			}
			basic := ""
			if u.User != nil {
				push := &http.Request{Header: http.Header{}}
				push.SetBasicAuth(u.User.Username(), "")
				basic = push.Header.Get("Authorization")
			}
			push := read(strings.TrimPrefix(u.RequestURI(), prefix), basic)
			if push == nil {
				t.Fatalf("%q: the address %q makes no request", target, at)
			}
			if got, err := address.Read(push); err != nil || got.ID != c.id || !got.Lives(c.path) {
				t.Errorf("%q: connected at %q, and a push to %q goes to %+v, %v", target, c.path, at, got, err)
			}
		}
	})
}
