package lane

import (
	"bufio"
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
		s, links := serve(t, Config{Handler: noContent, MaxConns: 1}), NewLinks(MaxLinks)
		idle := s.dial()
		defer idle.Close()
		if status := ask(t, idle, plain); status != 204 {
			t.Fatal(status)
		}
		opener := s.dial()
		defer opener.Close()
		go io.WriteString(opener, opening[:20])
		synctest.Wait()
		hijacked := s.say(t, opener, opening[20:])
		release, ok := links.Adopt(hijacked)
		if !ok || s.Conns() != 1 || len(s.limiter.beyond) != 0 {
			t.Errorf("adopted: %v; %d publishers, %d beyond", ok, s.Conns(), len(s.limiter.beyond))
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
		s.shutdown(t)
	})
}

// There are few places for openers. Those that do not open a link give them up again.
func TestOpenersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveHTTP(t, Config{Handler: noContent, MaxConns: 1})
		idle := s.dial()
		defer idle.Close()
		for range 3 {
			var all []net.Conn
			for range maxBeyond {
				all = append(all, s.dial())
			}
			one := s.dial()
			if _, err := one.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("one too many: %v", err)
			}
			<-time.After(refuseTime)
			synctest.Wait()
			for _, c := range all {
				if isOpen(c) {
					t.Fatal("one is left open")
				}
			}
		}
		s.shutdown(t)
	})
}
