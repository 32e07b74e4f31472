package wspush_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/wspushtest"
)

// pageAt is a page that connects over the network.
func pageAt(t *testing.T, server, user, resume string) *testutil.Page {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return testutil.Visit(t, conn, testutil.Options{Header: asUser(user)}, resume)
}

func addressOf(resp *http.Response) string { return resp.Header.Get("Wspush-Address") }

// Who is left out by an old sealed ID is left out, also when the worker that it names has ended.
func TestExceptOfMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, cluster: wspushtest.NewCluster(t), opts: *userOpts()}
		for range 3 {
			f.add(wspush.WorkerOptions{AuthorizePush: anybody})
		}
		a, b, c := f.stations[0], f.stations[1], f.stations[2]
		p := a.visitAs("ann", "")
		sealed := a.conns[0].SealedID()
		p = b.visitAs("ann", p.Ticket())
		other := b.visitAs("ann", "")
		if err := a.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		testutil.Pass(10 * time.Second) // the others see that it has ended
		for _, s := range []*station{b, c} {
			rec := httptest.NewRecorder()
			s.ServeHTTP(rec, httptest.NewRequest("POST", "/@users/ann?except="+sealed, strings.NewReader("x")))
			if rec.Code != 200 {
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
			other.Want("x")
			synctest.Wait()
			p.WantNothing()
		}
		f.forget()
	})
}

// Old addresses lead to where a session is, by every kind of request, and the answers have the new address.
func TestAddressOfMoved(t *testing.T) {
	for name, publicURL := range map[string]string{"own addresses": "", "a public URL": "https://push.example.com"} {
		t.Run(name, func(t *testing.T) {
			engine := membershiptest.NewEngine(1, rand.New(rand.NewPCG(1, 2)))
			var workers []*wspush.Worker
			var servers []string
			for range 3 {
				opts := *quiet()
				opts.PublicURL = publicURL
				opts.Cluster = &wspush.Cluster{Directory: engine.Client()}
				opts.Cluster.SetTiming(quick)
				w := newMember(t, opts)
				handler := userOpts()
				handler.ResumeWindow = window
				workers, servers = append(workers, w), append(servers, serve(t, w, handler))
			}
			p := pageAt(t, servers[0], "ann", "")
			var conn *wspush.Conn
			for c := range workers[0].Conns() {
				conn = c
			}
			plain, sealed := conn.PathAddresses()[0], strings.Replace(conn.PathAddresses()[0], conn.ID(), conn.SealedID(), 1)
			through := strings.Replace(sealed, workers[0].Addr().String(), workers[2].Addr().String(), 1)
			q := pageAt(t, servers[1], "ann", p.Ticket())
			moved, ok := workers[1].Conn(conn.ID())
			if !q.Hello.Resumed || !ok {
				t.Fatalf("%s", q.Hello.Raw)
			}
			do := func(method, url, body string) *http.Response {
				t.Helper()
				req, err := http.NewRequest(method, url, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				_, _ = io.Copy(io.Discard, resp.Body)
				return resp
			}
			for _, url := range []string{plain, sealed, through, plain + "?confirm=received"} {
				want := map[string]string{plain: strings.Join(moved.Addresses(), ","), sealed: moved.SealedAddress(), through: ""}[strings.TrimSuffix(url, "?confirm=received")]
				later := want
				if url == through { // the worker there hears of it by the first push
					later = moved.SealedAddress()
				}
				resp := do("POST", url, url)
				if got := addressOf(resp); resp.StatusCode != 204 || got != want && got != later {
					t.Errorf("%s: %s, %q, want %q", url, resp.Status, got, want)
				}
				q.Want(url)
				for _, method := range []string{"GET", "HEAD"} {
					resp := do(method, strings.TrimSuffix(url, "?confirm=received"), "")
					if got := addressOf(resp); resp.StatusCode != 200 || got != want && got != later {
						t.Errorf("%s %s: %s, %q", method, url, resp.Status, got)
					}
				}
			}
			if publicURL != "" {
				testutil.Eventually(t, "another worker to tell the address", func() bool {
					return addressOf(do("GET", through, "")) == moved.SealedAddress()
				})
				if got := addressOf(do("GET", strings.Replace(sealed, workers[0].Addr().String(), workers[1].Addr().String(), 1), "")); got != moved.SealedAddress() {
					t.Errorf("through the owner: %q", got)
				}
			}
			if resp := do("POST", moved.PathAddresses()[0], "straight"); resp.StatusCode != 204 || resp.Header.Get("Wspush-Address") != "" {
				t.Errorf("%s %v", resp.Status, resp.Header)
			}
			q.Want("straight")
			if resp := do("POST", strings.Replace(plain, "/ws/", "/other/", 1), "x"); resp.StatusCode != 404 {
				t.Errorf("at another path: %s", resp.Status)
			}
			if resp := do("DELETE", plain, ""); resp.StatusCode != 204 {
				t.Errorf("DELETE: %s", resp.Status)
			}
			if code, _ := q.End(); code != 1000 {
				t.Errorf("closed with %d", code)
			}
			testutil.Eventually(t, "the end", func() bool { return workers[1].Len() == 0 })
			for _, url := range []string{plain, sealed, through} {
				if resp := do("POST", url, "late"); resp.StatusCode != 410 {
					t.Errorf("after the end: %s", resp.Status)
				}
			}
		})
	}
}
