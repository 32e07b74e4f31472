package lane

import (
	"net"
	"testing"
	"testing/synctest"
)

// Adopt moves a connection from the publishers' places to the links'. Shutting down the Listener neither waits for it nor closes it.
func TestLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, links := serveHTTP(t, Config{Handler: noContent, MaxConns: 1}), NewLinks(2)
		var releases []func()
		var clients []net.Conn
		for range 2 {
			c := s.dial()
			defer c.Close()
			release, ok := links.Adopt(s.say(t, c, opening))
			if synctest.Wait(); !ok || s.Conns() != 0 {
				t.Fatalf("adopted: %v, and there are %d publishers", ok, s.Conns())
			}
			releases, clients = append(releases, release), append(clients, c)
		}
		third := s.dial()
		hijacked := s.say(t, third, opening)
		if _, ok := links.Adopt(hijacked); ok || s.Conns() != 1 || links.taken.Load() != 2 {
			t.Errorf("one too many is adopted: %v; %d publishers, %d links", ok, s.Conns(), links.taken.Load())
		}
		hijacked.Close()
		releases[0]()
		releases[0]()
		if n := links.taken.Load(); n != 1 {
			t.Errorf("%d links", n)
		}
		elsewhere, other := net.Pipe() // of another server
		defer other.Close()
		if release, ok := links.Adopt(elsewhere); !ok {
			t.Error("there was a place")
		} else {
			releases = append(releases, release)
		}
		s.shutdown(t)
		if !isOpen(clients[1]) {
			t.Error("shutting down has closed a link")
		}
		for _, release := range releases {
			release()
		}
		if n := links.taken.Load(); n != 0 {
			t.Errorf("%d links are left", n)
		}
	})
}
