package console_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

// On loopback, an unexpected name means that another site has made its own name resolve to this machine.
func TestHost(t *testing.T) {
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	loopback6 := &net.TCPAddr{IP: net.IPv6loopback, Port: 8080}
	mapped := &net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1"), Port: 8080}
	outside := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 8080}
	unix := &net.UnixAddr{Name: "/run/app.sock", Net: "unix"}
	for _, tt := range []struct {
		local net.Addr
		host  string
		want  int
	}{
		{loopback, "localhost:8080", http.StatusOK},
		{loopback, "LOCALHOST", http.StatusOK},
		{loopback, "127.0.0.1:8080", http.StatusOK},
		{loopback, "127.8.8.8", http.StatusOK},
		{loopback, "[::1]:8080", http.StatusOK},
		{loopback, "0.0.0.0:8080", http.StatusOK}, // an address of this machine: what a server that listens everywhere may print
		{loopback6, "[::]:8080", http.StatusOK},
		{loopback, "evil.example:8080", http.StatusMisdirectedRequest},
		{loopback, "localhost.evil.example", http.StatusMisdirectedRequest},
		{loopback, "127.0.0.1.evil.example", http.StatusMisdirectedRequest},
		{loopback, "192.0.2.7", http.StatusMisdirectedRequest},
		{loopback, "", http.StatusMisdirectedRequest},
		{loopback6, "evil.example", http.StatusMisdirectedRequest},
		{mapped, "evil.example", http.StatusMisdirectedRequest},
		{loopback, "admin.example.com", http.StatusOK}, // in Hosts, with any port
		{loopback, "Admin.Example.com:8443", http.StatusOK},
		{loopback, "other.example.com:8443", http.StatusOK}, // in Hosts, with this port
		{loopback, "other.example.com", http.StatusMisdirectedRequest},
		{loopback, "third.example.com", http.StatusOK}, // in Hosts, with the port that https has
		{outside, "evil.example", http.StatusOK},       // the application's authentication knows who this is
		{unix, "evil.example", http.StatusOK},
	} {
		s := newSite(t, &console.Options{Hosts: []string{"admin.example.com", "other.example.com:8443", "third.example.com:443"}})
		w := get(s.console, "http://x/", tt.host, tt.local)
		if w.Code != tt.want {
			t.Errorf("Host %q at %v: %d, want %d", tt.host, tt.local, w.Code, tt.want)
		}
		if isPage := strings.Contains(bodyOf(t, w), "<html"); isPage != (tt.want == http.StatusOK) {
			t.Errorf("Host %q at %v: page %v", tt.host, tt.local, isPage)
		}
	}
}

// Requests from a page of another origin are refused and change nothing.
func TestCrossOrigin(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		want   int
	}{
		{"the page", []string{"Origin", "http://console.example", "Sec-Fetch-Site", "same-origin"}, http.StatusOK},
		{"the page, in an older browser", []string{"Origin", "http://console.example"}, http.StatusOK},
		{"no browser", nil, http.StatusOK},
		{"a page behind the proxy in Hosts", []string{"Origin", "https://admin.example.com"}, http.StatusOK},
		{"a page behind the proxy in Hosts, which names its port", []string{"Origin", "https://third.example.com"}, http.StatusOK},
		{"a page at another port", []string{"Origin", "http://third.example.com"}, http.StatusForbidden},
		{"another site", []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"another host of the same site", []string{"Origin", "https://a.example", "Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{"another site, in an older browser", []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{"a sandboxed frame", []string{"Origin", "null"}, http.StatusForbidden},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, &console.Options{Hosts: []string{"admin.example.com", "third.example.com:443"}})
			client, id := s.connect(testutil.Options{})
			p := s.open()
			p.until("the connection", func(update) bool { return len(p.order) == 1 })
			body := `{"connection":"` + p.handleOf(id) + `","code":1000}`
			answered := make(chan int)
			go func() {
				answered <- s.post("http://console.example/disconnect", body, tt.header...).Code
			}()
			if got := <-answered; got != tt.want {
				t.Errorf("%d, want %d", got, tt.want)
			}
			_, live := s.worker.Conn(id)
			if live == (tt.want == http.StatusOK) {
				t.Errorf("answered with %d, but the connection is live: %v", tt.want, live)
			}
			client.Close()
			p.client.Close()
		})
	}
}

// A page of another origin gets no WebSocket either.
func TestCrossOriginFeed(t *testing.T) {
	s := newSite(t, &console.Options{Hosts: []string{"admin.example.com", "[2001:db8::1]:8443"}})
	server := testutil.Serve(t, s.console)
	for origin, want := range map[string]int{
		"":                           http.StatusSwitchingProtocols,
		server:                       http.StatusSwitchingProtocols,
		"https://admin.example.com":  http.StatusSwitchingProtocols,
		"https://[2001:db8::1]:8443": http.StatusSwitchingProtocols,
		"https://evil.example":       http.StatusForbidden,
		"https://[2001:db8::2]:8443": http.StatusForbidden,
		"null":                       http.StatusForbidden,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		client, resp, err := testutil.TryDial(t, server, testutil.Options{Path: "/feed", Header: header})
		switch {
		case resp == nil && client == nil:
			t.Errorf("Origin %q: %v", origin, err)
		case client != nil:
			if want != http.StatusSwitchingProtocols {
				t.Errorf("Origin %q gets a WebSocket", origin)
			}
			client.Close()
		case resp.StatusCode != want:
			t.Errorf("Origin %q: %d, want %d", origin, resp.StatusCode, want)
		}
	}
	_, resp, err := testutil.TryDial(t, server, testutil.Options{Path: "/feed", Header: http.Header{"Host": {"evil.example"}, "Origin": {"http://evil.example"}}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a rebound name: %v, %v", resp, err)
	}
}
