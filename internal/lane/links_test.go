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
		if _, ok := links.Adopt(hijacked); ok || s.Conns() != 1 || links.Len() != 2 {
			t.Errorf("one too many is adopted: %v; %d publishers, %d links", ok, s.Conns(), links.Len())
		}
		hijacked.Close()
		releases[0]()
		releases[0]()
		if n := links.Len(); n != 1 {
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
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			links.Wait(t.Context())
		}()
		releases[1]()
		synctest.Wait()
		select {
		case <-waited:
			t.Error("Wait has not waited for the last link")
		default:
		}
		releases[2]()
		<-waited
		links.Wait(t.Context()) // for none
	})
}

// Links.Wait closes the links that are left when its context ends.
func TestLinksWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, links := serveHTTP(t, Config{Handler: noContent}), NewLinks(0)
		c := s.dial()
		defer c.Close()
		if _, ok := links.Adopt(s.say(t, c, opening)); !ok {
			t.Fatal("there was a place")
		}
		s.shutdown(t)
		links.Wait(ended(t))
		if isOpen(c) {
			t.Error("the link is left open")
		}
	})
}
