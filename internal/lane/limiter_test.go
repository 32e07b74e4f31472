package lane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Where publishers have all places, an opening of a link still gets in, but nothing else does by that way.
func TestOpener(t *testing.T) { testOpener(t, serveHTTP) }

func TestOpenerTLS(t *testing.T) { testOpener(t, serveHTTPS) }

func testOpener(t *testing.T, serve func(*testing.T, Config) *served) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		s, links := serve(t, Config{Handler: waits(wait), MaxConns: 1}), NewLinks(MaxLinks)
		defer occupy(s).Close()
		opener := s.dial()
		defer opener.Close()
		go io.WriteString(opener, opening[:20])
		synctest.Wait()
		hijacked := s.say(t, opener, opening[20:])
		release, ok := links.Adopt(hijacked)
		if !ok || s.Conns() != 1 || s.beyond() != 0 {
			t.Errorf("adopted: %v; %d publishers, %d beyond", ok, s.Conns(), s.beyond())
		}
		defer release()
		<-time.After(10 * openingTime)
		if !isOpen(opener) {
			t.Error("the link has been closed")
		}
		go opener.Write([]byte("x"))
		if n, err := hijacked.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("the link reads %d, %v", n, err)
		}

		for name, tc := range map[string]struct {
			request string
			status  int // 0: no answer
			within  time.Duration
		}{
			"one that proves nothing":        {strings.Replace(opening, "\r\n\r\n", "\r\nX-Wrong: 1\r\n\r\n", 1), 204, 0},
			"one that waits":                 {opening, 0, openingTime},
			"one that never comes":           {opening[:20], 0, refuseTime},
			"one whose header has no end":    {strings.TrimSuffix(opening, "\r\n") + "X: " + strings.Repeat("x", 8<<10), 503, refuseTime},
			"nothing":                        {"", 0, refuseTime},
			"a push":                         {plain, 503, refuseTime},
			"a push, in front of an opening": {plain + opening, 503, refuseTime},
		} {
			c := s.dial()
			if tc.request != "" {
				go io.WriteString(c, tc.request)
			}
			began, status := time.Now(), 0
			in := bufio.NewReader(c)
			if resp, err := http.ReadResponse(in, nil); err == nil {
				status = resp.StatusCode
			}
			if _, err := in.ReadByte(); err == nil || status != tc.status || time.Since(began) > tc.within {
				t.Errorf("%s: answered %d, %v, after %v", name, status, err, time.Since(began))
			}
			c.Close()
			synctest.Wait()
			select {
			case <-s.hijacked:
			default:
			}
		}
		if n := s.Refused(); n != 5 {
			t.Errorf("%d have been refused", n)
		}
		close(wait)
		s.shutdown(t)
	})
}

// waits is noContent, except for requests with X-Wait, which have no answer until wait is closed.
func waits(wait <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Wait") != "" {
			<-wait
		}
		noContent(w, r)
	}
}

// occupy makes a connection on which a request waits.
func occupy(s *served) net.Conn {
	c := s.dial()
	go io.WriteString(c, plainHead+"X-Wait: 1\r\nContent-Length: 0\r\n\r\n")
	synctest.Wait()
	return c
}

// There are few places beyond the limit. Those that do not open a link give them up again, and to anyone who comes later.
func TestOpenersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		s, links := serveHTTP(t, Config{Handler: waits(wait), MaxConns: 1}), NewLinks(MaxLinks)
		defer occupy(s).Close()
		for range 3 {
			var all []net.Conn
			for range maxSilent {
				all = append(all, s.dial())
			}
			one := s.dial()
			began := time.Now()
			if _, err := all[0].Read(make([]byte, 1)); err != io.EOF || time.Since(began) > 0 {
				t.Errorf("the first of too many: %v, after %v", err, time.Since(began))
			}
			opener := s.say(t, one, opening) // among as many that are silent
			release, ok := links.Adopt(opener)
			if !ok || time.Since(began) > 0 {
				t.Errorf("the opener gets in: %v, after %v", ok, time.Since(began))
			}
			<-time.After(refuseTime)
			synctest.Wait()
			for _, c := range all {
				if isOpen(c) {
					t.Fatal("one is left open")
				}
			}
			opener.Close()
			release()
		}
		// Those that only pretend to open a link keep nobody out either.
		var hijacked, dialed []net.Conn
		for range 2 * maxOpeners {
			c := s.dial()
			dialed, hijacked = append(dialed, c), append(hijacked, s.say(t, c, opening))
		}
		if isOpen(dialed[0]) || !isOpen(dialed[2*maxOpeners-1]) || s.beyond() != maxOpeners {
			t.Errorf("%d openers", s.beyond())
		}
		for _, c := range hijacked {
			c.Close()
		}
		close(wait)
		s.shutdown(t)
	})
}

// A connection that rests makes room for another, the one that has rested for the longest time first. None does that has a request.
func TestLongestGoes(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, Config) *served{"plain": serveHTTP, "TLS": serveHTTPS} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wait := make(chan struct{})
				s := serve(t, Config{Handler: waits(wait), MaxConns: 6})
				const get, half = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHo"
				waiting := occupy(s)
				defer waiting.Close()
				silent, begun, lane, other, shy := s.pipes.dial(), s.dial(), s.dial(), s.dial(), s.dial()
				go io.WriteString(begun, half)
				for i := range 2 { // the second request makes it younger than all others
					for _, c := range []net.Conn{lane, other, shy} {
						if i == 1 && c == shy {
							continue
						}
						<-time.After(time.Millisecond)
						if status := ask(t, c, map[net.Conn]string{lane: plain, other: get, shy: plain}[c]); status != 204 {
							t.Fatal(status)
						}
					}
				}
				go io.WriteString(shy, half) // and net/http has it
				synctest.Wait()
				old := map[string]net.Conn{"silent": silent, "half a header": begun, "shy": shy, "on its lane": lane, "with net/http": other}
				for _, next := range []string{"silent", "half a header", "shy", "on its lane", "with net/http"} {
					if !isOpen(old[next]) {
						t.Errorf("%s: it has gone too early", next)
					}
					c := s.dial()
					defer c.Close()
					if status := ask(t, c, plain); status != 204 {
						t.Errorf("%s: the next one is answered %d", next, status)
					}
					synctest.Wait()
					if isOpen(old[next]) {
						t.Errorf("%s: it does not make room", next)
					}
					delete(old, next)
					if n := s.Conns(); n != 6 {
						t.Errorf("%d connections", n)
					}
				}
				close(wait)
				if resp, err := http.ReadResponse(bufio.NewReader(waiting), nil); err != nil || resp.StatusCode != 204 {
					t.Errorf("the one with a request: %v, %v", resp, err)
				}
				if n := s.Displaced(); n != 5 {
					t.Errorf("%d have made room", n)
				}
				if n := s.Refused(); n != 0 {
					t.Errorf("%d were refused", n)
				}
				s.shutdown(t)
			})
		})
	}
}

// Strangers that come in crowds close each other's connections, not those of publishers that are known, as long as these push now and
// then.
func TestStrangersGoFirst(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, Config) *served{"plain": serveHTTP, "TLS": serveHTTPS} {
		for kind, request := range map[string]string{"on its lane": plain, "with net/http": "GET /known HTTP/1.1\r\nHost: x\r\n\r\n"} {
			t.Run(name+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := serve(t, Config{MaxConns: 3, Handler: func(w http.ResponseWriter, r *http.Request) {
						MarkKnown(w, r)
						w.WriteHeader(http.StatusNoContent)
					}})
					known, other := s.dial(), s.dial()
					defer known.Close()
					defer other.Close()
					if status := ask(t, other, request); status != 204 {
						t.Fatal(status)
					}
					crowd := func() {
						for range 8 {
							stranger := s.pipes.dial()
							defer stranger.Close()
						}
						synctest.Wait()
					}
					for range 4 {
						if status := ask(t, known, request); status != 204 {
							t.Fatalf("%d", status)
						}
						crowd()
						if !isOpen(known) {
							t.Fatal("it has made room for strangers")
						}
						_ = known.SetReadDeadline(time.Time{})
						<-time.After(knownGrace / 3)
					}
					if isOpen(other) {
						t.Error("one that does nothing is kept")
					}
					<-time.After(knownGrace)
					crowd()
					if isOpen(known) {
						t.Error("one that has rested for long is kept")
					}
					s.shutdown(t)
				})
			})
		}
	}
}

// A request that comes when its connection is about to be closed for another is not carried out.
func TestGone(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, Config) *served{"plain": serveHTTP, "TLS": serveHTTPS} {
		for kind, request := range map[string]string{"on its lane": plain, "with net/http": "GET / HTTP/1.1\r\nHost: x\r\n\r\n"} {
			for first := range 2 {
				t.Run(fmt.Sprint(name, " ", kind, " ", first), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := serve(t, Config{Handler: func(w http.ResponseWriter, r *http.Request) {
							if r.Header.Get("X-Never") != "" {
								t.Error("the request is carried out")
							}
							noContent(w, r)
						}, MaxConns: 1})
						c := s.dial()
						if secure, ok := c.(*tls.Conn); ok {
							go secure.Handshake()
						}
						if first > 0 {
							if status := ask(t, c, request); status != 204 {
								t.Fatal(status)
							}
						}
						synctest.Wait()
						taken := s.limiter.berths.takeLongest()
						if taken == nil {
							t.Fatal("it does not rest")
						}
						go io.WriteString(c, strings.Replace(request, "\r\nHost", "\r\nX-Never: 1\r\nHost", 1))
						if _, err := c.Read(make([]byte, 1)); err != io.EOF {
							t.Errorf("it is answered: %v", err)
						}
						taken.cut()
						s.shutdown(t)
					})
				})
			}
		}
	}
}
