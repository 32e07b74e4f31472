package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// The printed link leads to the console, and nothing else does.
func TestLogin(t *testing.T) {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	out, in := io.Pipe()
	defer in.Close()
	ended := make(chan error)
	go func() { ended <- run(ctx, []string{"-listen", "0", "-clients", "0"}, in) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	link, err := url.Parse(strings.TrimSpace(strings.TrimPrefix(line, "Open ")))
	if err != nil {
		t.Fatal(err)
	}

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Jar: jar}
	get := func(path string) (status int, body string) {
		t.Helper()
		resp, err := client.Get("http://" + link.Host + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(data)
	}
	for _, path := range []string{"/debug/wspush/", "/debug/wspush/feed", "/login?secret=guess", "/login"} {
		if status, _ := get(path); status != http.StatusForbidden {
			t.Errorf("without a login %s is answered with %d", path, status)
		}
	}
	if status, body := get(link.RequestURI()); status != http.StatusOK || !strings.Contains(body, "<title>wspush console") {
		t.Errorf("the link is answered with %d", status)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
