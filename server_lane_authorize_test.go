package wspush_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// described is what an application's function can see of a request.
func described(r *http.Request) string {
	body := fmt.Sprint(r.Body == http.NoBody)
	if strings.HasSuffix(r.URL.RawQuery, "read") {
		all, err := io.ReadAll(r.Body)
		again, errAgain := r.Body.Read(make([]byte, 1))
		body += fmt.Sprintf(" %q %v %d %v", all, err, again, errAgain)
	}
	secure := "no TLS"
	if r.TLS != nil {
		secure = fmt.Sprint(r.TLS.HandshakeComplete, r.TLS.Version, r.TLS.NegotiatedProtocol, r.TLS.ServerName, len(r.TLS.PeerCertificates), len(r.TLS.VerifiedChains))
	}
	_, isServer := r.Context().Value(http.ServerContextKey).(*http.Server)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	_, hasDeadline := r.Context().Deadline()
	return fmt.Sprintf("%s %#v %s %d %d %q %q %q %d %v %v %v, body %s, %s, server %v, local %T, remote %s %v, deadline %v, context %v",
		r.Method, *r.URL, r.Proto, r.ProtoMajor, r.ProtoMinor, r.Header, r.Host, r.RequestURI, r.ContentLength, r.TransferEncoding, r.Close, r.Trailer,
		body, secure, isServer, local, host, err, hasDeadline, r.Context().Err())
}

// TestLaneAuthorize: AuthorizePush sees the same of every request on the lane, plain and over TLS, as by net/http alone, and the
// publisher gets the same answers.
func TestLaneAuthorize(t *testing.T) {
	var mu sync.Mutex // guards seen
	var seen []string
	authorize := func(r *http.Request) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, described(r))
		switch r.Header.Get("X-Answer") {
		case "no":
			return wspush.ErrForbidden
		case "panic":
			panic("no")
		}
		r.Header.Set("X-Answer", "changed")
		r.Header.Add("X-Kept", "y")
		return nil
	}
	certificate, pool := testutil.NewCertificate(t)
	alice, alices := testutil.NewCertificate(t)
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: alices,
		NextProtos: []string{"h2", "http/1.1"},
	}
	quietly := log.New(io.Discard, "", 0)
	for name, client := range map[string]*tls.Config{
		"plain":   nil,
		"TLS":     {RootCAs: pool},
		"ALPN":    {RootCAs: pool, NextProtos: []string{"http/1.1"}},
		"mTLS":    {RootCAs: pool, Certificates: []tls.Certificate{alice}},
		"TLS 1.2": {RootCAs: pool, Certificates: []tls.Certificate{alice}, MaxVersion: tls.VersionTLS12},
	} {
		t.Run(name, func(t *testing.T) {
			opts := &wspush.WorkerOptions{MaxPushBytes: 2000, AuthorizePush: authorize, Logger: quiet().Logger}
			alone := &http.Server{ErrorLog: quietly, DisableGeneralOptionsHandler: true}
			l := listenTCP(t)
			if client != nil {
				opts.TLS, alone.TLSConfig = config, config.Clone()
			}
			w := newWorker(t, opts)
			alone.Handler = w
			go func() {
				if client != nil {
					_ = alone.ServeTLS(l, "", "")
				} else {
					_ = alone.Serve(l)
				}
			}()
			defer alone.Close()
			c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
			var reading sync.WaitGroup
			reading.Go(func() { _, _ = io.Copy(io.Discard, c.Conn()) })
			defer reading.Wait()
			defer c.Close()

			push := func(query, header, body string) string {
				return fmt.Sprintf("POST /ws/@connections/%s%s HTTP/1.1\r\nHost: x:1\r\n%sContent-Length: %d\r\n\r\n%s", conn.ID(), query, header, len(body), body)
			}
			long := "X-Long: " + strings.Repeat("x", 5000) + "\r\n"
			for _, request := range []string{
				push("", "", "a"), push("", "", ""), push("?type=binary", "", "a") + push("", "x-kept: z\r\n", "b"),
				push("?type=text&x-amz-a=read", "", "read"), push("?x-amz-a=read", "", ""), push("?x-amz-a=read", "X-Answer: no\r\n", "a") + push("", "", "b"),
				push("", "X-Answer: no\r\n", "a") + push("", "", "b"), push("", "X-Answer: panic\r\n", "a") + push("", "", "b"),
				push("", "a: 1\r\nA: 2\r\nb.c_d-E:  3 \r\nAccept-encoding: gzip\r\nCOOKIE: a=b\r\ncookie: c=d\r\n", "a"),
				push("", "X: a\r\n b\r\n", "folded") + push("", "", "b"), push("", long, "a") + push("", "", "b"),
				push("", "Pragma: no-cache\r\n", "a"), push("", "Connection: close\r\n", "a"), push("", "Connection: Keep-Alive\r\n", "a") + push("", "", "b"),
				push("", "Expect: 100-continue\r\n", "a"), push("", "Expect: something\r\n", "a"), push("", "Upgrade: h2c\r\nConnection: Upgrade\r\n", "a"),
				push("", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), push("", "Trailer: X\r\n", "a"), push("", "TE: trailers\r\n", "a"),
				push("", "Host: y\r\n", "a"), push("", "X : y\r\n", "a"), push("", "X: \xe4\r\n", "a"), push("", "X: \x01\r\n", "a"),
				strings.Replace(push("", "", "a"), "HTTP/1.1", "HTTP/1.0", 1), strings.Replace(push("", "", "a"), "POST /ws", "POST http://y/ws", 1),
				strings.Replace(push("", "", "a"), "POST /ws", "POST /%77s", 1), strings.Replace(push("", "", "a"), "POST /ws", "POST //ws", 1),
				strings.Replace(push("", "", "a"), "POST /ws", "POST /%zz", 1), strings.Replace(push("", "", "a"), "POST /ws", "POST /a b", 1),
				strings.Replace(push("", "", "a"), "x:1", "x y", 1), strings.Replace(push("", "", "a"), "x:1", "", 1),
				strings.Replace(push("", "", "a"), "x:1", "[::1]:80", 1), strings.Replace(push("", "", ""), "POST", "GET", 1) + push("", "", "b"),
				strings.Replace(push("", "", "a"), "POST", "DELETE", 1)[:20], push("?confirm=nothing", "", "a") + push("", "Authorization: Bearer x\r\n", "b"),
			} {
				run := func(addr string) (answers string, requests []string) {
					mu.Lock()
					seen = nil
					mu.Unlock()
					answers = converse(t, addr, client, request)
					mu.Lock()
					defer mu.Unlock()
					return answers, slices.Clone(seen)
				}
				fast, fastSeen := run(w.Addr().String())
				plain, plainSeen := run(l.Addr().String())
				if fast != plain {
					t.Errorf("%.300q\non the lane  %q\nby net/http  %q", request, fast, plain)
				}
				if !slices.Equal(fastSeen, plainSeen) {
					t.Errorf("%.300q\non the lane  %q\nby net/http  %q", request, fastSeen, plainSeen)
				}
			}
		})
	}
}

// converse sends a publisher's bytes, and an end, and returns all that it gets, without dates.
func converse(t *testing.T, addr string, client *tls.Config, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if client != nil {
		client = client.Clone()
		client.ServerName = "localhost"
		c = tls.Client(c, client)
	}
	// The last one closes the connection, so that there is an end without the publisher's leaving.
	if _, err := io.WriteString(c, request+"OPTIONS /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	var all []string
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return strings.Join(all, "\n")
		}
		body, _ := io.ReadAll(resp.Body)
		for _, field := range []string{`"connectedAt":"`, `"lastActiveAt":"`} {
			if before, after, ok := bytes.Cut(body, []byte(field)); ok {
				_, after, _ = bytes.Cut(after, []byte(`"`))
				body = append(slices.Clone(before), after...)
			}
		}
		resp.Header.Del("Date")
		resp.Header.Del("Content-Length")
		all = append(all, fmt.Sprint(resp.Status, resp.Header, resp.Close, string(body)))
	}
}

// What AuthorizePush keeps of a request stays as it was, and is of no use for the next one: the body cannot be read, the context has
// ended, and the header belongs to whoever keeps it.
func TestLaneKept(t *testing.T) {
	var kept []*http.Request
	w := newWorker(t, &wspush.WorkerOptions{AuthorizePush: func(r *http.Request) error {
		if len(kept) > 0 {
			last := kept[len(kept)-1]
			if n, err := last.Body.Read(make([]byte, 9)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
				t.Errorf("the last body can still be read: %d, %v", n, err)
			}
			if err := last.Context().Err(); err != context.Canceled {
				t.Errorf("the last context: %v", err)
			}
			select {
			case <-last.Context().Done():
			default:
				t.Error("the last context is not done")
			}
			last.Header.Set("X-Number", "spoilt")
			last.Header.Set("Host", "spoilt")
		}
		kept = append(kept, r)
		return nil
	}})
	c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	publisher := keeping(t, nil, false)
	for i := range 5 {
		req := newRequest(t, "POST", conn.PathAddresses()[0], strings.NewReader(fmt.Sprint("body ", i)))
		req.Header.Set("X-Number", fmt.Sprint(i))
		resp, err := publisher.Do(req)
		if err != nil || resp.StatusCode != 204 {
			t.Fatal(resp, err)
		}
		c.Expect(testutil.Text, fmt.Sprint("body ", i))
		if got := kept[i].Header.Get("X-Number"); got != fmt.Sprint(i) {
			t.Errorf("request %d has the number %s", i, got)
		}
	}
	for i, r := range kept[:4] {
		if got := r.Header["X-Number"]; !slices.Equal(got, []string{"spoilt"}) || r.URL != kept[i].URL {
			t.Errorf("request %d has become %v", i, got)
		}
	}
}

// The context that AuthorizePush gets ends when the publisher leaves, also while the function waits. The next request, sent early,
// does not end it.
func TestLaneAuthorizeLeaves(t *testing.T) {
	for entrance := range entrances {
		if !strings.HasPrefix(entrance, "authorized") {
			continue
		}
		t.Run(entrance, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				waiting, ended := make(chan struct{}), make(chan error)
				p := newPlaceAsking(t, entrance, func(r *http.Request) error {
					if r.Header.Get("X-Wait") == "" {
						return nil
					}
					ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
					defer cancel()
					waiting <- struct{}{}
					<-ctx.Done()
					ended <- r.Context().Err()
					return ctx.Err()
				})
				conn, _ := p.dial(t)
				c := p.secure(conn)
				go io.WriteString(c, p.request("PUSH\nX-Wait: 1\nContent-Length: 0\n\n"))
				<-waiting
				conn.Close()
				if err := <-ended; err != context.Canceled {
					t.Errorf("the publisher has left: %v", err)
				}
				conn, _ = p.dial(t)
				c = p.secure(conn)
				go io.WriteString(c, p.request("PUSH\nX-Wait: 1\nContent-Length: 0\n\nPUSH\nContent-Length: 4\n\nnext"))
				<-waiting
				began := time.Now()
				if err := <-ended; err != nil || time.Since(began) != time.Minute {
					t.Errorf("a publisher that has sent more has not left: %v, after %v", err, time.Since(began))
				}
				in := bufio.NewReader(c)
				for _, want := range []int{503, 204} {
					resp, err := http.ReadResponse(in, nil)
					if err != nil || resp.StatusCode != want {
						t.Fatalf("%v, %v", resp, err)
					}
					io.Copy(io.Discard, resp.Body)
				}
				if got := p.messages(); !slices.Equal(got, []string{"next"}) {
					t.Errorf("the client gets %q", got)
				}
			})
		})
	}
}

// Shutdown does not wait for an AuthorizePush that does not return, on the lane either, and answers everybody else.
func TestLaneAuthorizeBlocks(t *testing.T) {
	for entrance := range entrances {
		if !strings.HasPrefix(entrance, "authorized") {
			continue
		}
		t.Run(entrance, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				p := newPlaceAsking(t, entrance, func(*http.Request) error {
					<-release
					return nil
				})
				conn, closed := p.dial(t)
				c := p.secure(conn)
				go io.WriteString(c, p.request("PUSH\nContent-Length: 4\n\nevil"))
				go io.Copy(io.Discard, c)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				_ = p.Shutdown(ctx)
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("Shutdown takes %v", took)
				}
				<-closed
				close(release)
				if got := p.messages(); len(got) > 0 {
					t.Errorf("the client gets %q", got)
				}
			})
		})
	}
}

// newPlaceAsking is newPlace with another AuthorizePush than the entrance's.
func newPlaceAsking(t *testing.T, entrance string, authorize func(*http.Request) error) *place {
	before := entrances[entrance]
	return newPlaceBy(t, func(t *testing.T, opts *wspush.WorkerOptions) *tls.Config {
		config := before(t, opts)
		opts.AuthorizePush = authorize
		return config
	}, wspush.WorkerOptions{})
}
