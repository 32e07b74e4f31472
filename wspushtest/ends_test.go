package wspushtest_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"
)

// When ExpectDisconnect returns, OnDisconnect has returned, however long it takes.
func TestExpectDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left atomic.Bool
		s := wspushtest.New(t, &wspushtest.Options{Handler: wspush.HandlerOptions{OnDisconnect: func(*wspush.Conn, error) {
			<-time.After(time.Second)
			left.Store(true)
		}}})
		c := s.Connect()
		c.Close(1000, "bye")
		if end := s.ExpectDisconnect(c, wspush.CauseClient); !left.Load() || end.Code != 1000 || end.Reason != "bye" {
			t.Errorf("OnDisconnect has returned: %v; %+v", left.Load(), end)
		}
		s.ExpectDisconnect(c, wspush.CauseClient) // once more
	})
	// Without an OnDisconnect, and with the sealed ID of a connection of a cluster.
	s := wspushtest.NewCluster(t).New(nil)
	c := s.Connect()
	conn := first(s.Worker)
	c.ID = conn.SealedID()
	c.Disconnect()
	s.ExpectDisconnect(c, wspush.CauseLost)
}

func first(w *wspush.Worker) *wspush.Conn {
	for c := range w.Conns() {
		return c
	}
	return nil
}

func TestExpectDisconnectFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for want, run := range map[string]func(s *wspushtest.Server, c *wspushtest.Client){
			"want OnDisconnect for idle; it has not returned within 5s": func(s *wspushtest.Server, c *wspushtest.Client) {
				s.ExpectDisconnect(c, wspush.CauseIdle)
			},
			"want OnDisconnect for idle; it was called for client": func(s *wspushtest.Server, c *wspushtest.Client) {
				c.Close(1000, "")
				s.ExpectDisconnect(c, wspush.CauseIdle)
			},
			"waiting for OnDisconnect: the greeting is not wspush's default": func(s *wspushtest.Server, c *wspushtest.Client) {
				c.ID = ""
				s.ExpectDisconnect(c, wspush.CauseIdle)
			},
		} {
			got := failure(t, func(tb testing.TB) {
				s := wspushtest.New(tb, nil)
				run(s, s.Connect())
			})
			if !strings.HasPrefix(got, "fatal: "+want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}
