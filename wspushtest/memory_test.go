package wspushtest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wspush/wspush/wspushtest"
)

// Every request reaches the handler, with http and https alike, with the host that it names and that host's cookies.
func TestHTTPClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := wspushtest.HTTPClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "seen", Value: "yes"})
			_, err := r.Cookie("seen")
			if _, err := io.WriteString(w, r.Host+r.URL.Path); err != nil {
				t.Error(err)
			}
			if seen := err == nil; seen != (r.URL.Path == "/again") {
				t.Errorf("%s%s: seen %v", r.Host, r.URL.Path, seen)
			}
		}))
		for _, host := range []string{"a.test", "b.test:8443"} {
			for _, url := range []string{"http://" + host + "/first", "https://" + host + "/again"} {
				resp, err := client.Get(url)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if want := host + resp.Request.URL.Path; err != nil || string(body) != want {
					t.Errorf("%s: got %q, %v, want %q", url, body, err, want)
				}
			}
		}
	})
}

// A handler's panic fails the test, unless it is http.ErrAbortHandler.
func TestHandlerPanics(t *testing.T) {
	for _, tt := range []struct {
		with any
		want string
	}{{"oops", "the handler panicked: oops\n"}, {http.ErrAbortHandler, ""}} {
		synctest.Test(t, func(t *testing.T) {
			got := failure(t, func(tb testing.TB) {
				client := wspushtest.HTTPClient(tb, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(tt.with) }))
				if _, err := client.Get("http://app.test/"); err == nil {
					t.Error("there was an answer")
				}
			})
			if first, _, _ := strings.Cut(got, "goroutine "); first != tt.want {
				t.Errorf("%v: failed with %q", tt.with, got)
			}
		})
	}
}
