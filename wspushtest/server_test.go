package wspushtest_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
	"github.com/wspush/wspush/wspushtest"
)

// A silent client is pinged after PingInterval, not a moment earlier, and its pong keeps it connected.
func TestPingInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, &wspushtest.Options{Handler: wspush.HandlerOptions{PingInterval: 25 * time.Second, IdleTimeout: time.Minute}})
		c := s.Connect()
		c.ExpectNothing(25*time.Second - time.Nanosecond)
		synctest.Wait()
		if got := c.Pings(); got != 0 {
			t.Errorf("%d pings before PingInterval", got)
		}
		<-time.After(time.Nanosecond)
		synctest.Wait()
		if got := c.Pings(); got != 1 {
			t.Errorf("%d pings after PingInterval, want 1", got)
		}
		c.ExpectNothing(time.Hour)
		synctest.Wait()                   // for the ping that is due right now
		if got := c.Pings(); got != 145 { // one every 25 s
			t.Errorf("%d pings after an hour, want 145", got)
		}
	})
}

// A client that does not answer is closed with 1001 after IdleTimeout, not a moment earlier.
func TestIdleInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, &wspushtest.Options{
			Handler: wspush.HandlerOptions{PingInterval: 25 * time.Second, IdleTimeout: time.Minute},
			Client:  wspushtest.ClientOptions{NoPongs: true},
		})
		c := s.Connect()
		c.ExpectNothing(time.Minute - time.Nanosecond)
		<-time.After(time.Nanosecond)
		synctest.Wait()
		if reason := c.Within(0).ExpectClose(1001); reason != "idle timeout" {
			t.Errorf("closed for %q", reason)
		}
		if got := c.Pings(); got != 2 {
			t.Errorf("%d pings, want 2", got)
		}
	})
}

// A push to a client that does not read ends with its context. A message already begun is completed when the client reads
// again; those waiting behind it are withdrawn.
func TestPushTimeoutInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{WriteTimeout: -1}})
		c := s.Connect()
		c.Pause()
		for i, want := range []error{wspush.ErrUnknown, context.DeadlineExceeded} {
			begin := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			_, err := s.Worker.Push(ctx, c.ID, wspush.Text, []byte{'1' + byte(i)})
			cancel()
			if took := time.Since(begin); !errors.Is(err, want) || took != 2*time.Second {
				t.Errorf("push %d: %v after %v, want %v after 2s", i+1, err, took, want)
			}
		}
		c.Resume()
		c.Expect("1")
		s.PushAndExpect(c, "3")
	})
}

// The same over HTTP, in memory: 504 for a push that has begun, 429 for one that is withdrawn, both after the publisher's
// timeout.
func TestHTTPPushInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{WriteTimeout: -1}})
		c := s.Connect()
		publisher := s.HTTPClient()
		post := func(body string, want int, after time.Duration) {
			t.Helper()
			begin := time.Now()
			resp, err := publisher.Post(c.Address()+"?timeout=7s", "text/plain", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if took := time.Since(begin); resp.StatusCode != want || took != after {
				t.Errorf("%q: %s after %v, want %d after %v", body, resp.Status, took, want, after)
			}
		}
		post("1", http.StatusNoContent, 0)
		c.Expect("1")
		c.Pause()
		post("2", http.StatusGatewayTimeout, 7*time.Second)
		post("3", http.StatusTooManyRequests, 7*time.Second)
		c.Resume()
		c.Expect("2")
		post("4", http.StatusNoContent, 0)
		c.Expect("4")
		c.Close(1000, "")
		post("5", http.StatusGone, 0)
	})
}

// The client reads by itself: neither a receipt nor Shutdown needs a call from the test.
func TestReadsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, nil)
		c := s.Connect()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := s.Worker.Push(ctx, c.ID, wspush.Text, []byte("read?"), wspush.Confirmed()); err != nil {
			t.Error(err)
		}
		begin := time.Now()
		if err := s.Worker.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("Shutdown took %v: the client did not answer", took)
		}
		c.Expect("read?")
		c.ExpectClose(1012)
	})
}

// With a listener, anyone with the address can push: any HTTP client, package publisher, and a client in memory.
func TestPushOverTheNetwork(t *testing.T) {
	testutil.NoLeak(t)
	s := wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{Listen: "127.0.0.1:0"}})
	c := s.Connect()
	if want := "http://" + c.ID + "@" + s.Worker.Addr().String() + "/ws"; c.Address() != want {
		t.Errorf("the address is %s, want %s", c.Address(), want)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, client := range []*http.Client{{Transport: transport}, s.HTTPClient()} {
		resp, err := client.Post(c.Address(), "text/plain", strings.NewReader("over HTTP"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("got %s", resp.Status)
		}
		c.Expect("over HTTP")
	}
	p, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Push(t.Context(), c.Address(), publisher.Binary, []byte("by publisher")); err != nil {
		t.Error(err)
	}
	c.ExpectBinary([]byte("by publisher"))
}

// Nothing made for a test outlives it, whatever state it was in.
func TestNoLeak(t *testing.T) {
	testutil.NoLeak(t)
	t.Run("test", func(t *testing.T) {
		s := wspushtest.New(t, nil)
		c := s.Connect()
		s.Push(c, "never read")
		s.Connect().Pause()
		s.Connect().Close(1000, "")
		s.Connect().Disconnect()
		resp, err := s.HTTPClient().Get(c.Address())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		wspushtest.ExpectRefused(t, http.NotFoundHandler(), "/", http.StatusNotFound, nil)
	})
}
