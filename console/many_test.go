package console_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

// However many connections there are, a page gets 200 rows, and then only the changes among these.
func TestManyConnections(t *testing.T) {
	const n, most = 1500, 200
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &console.Options{Label: func(c *wspush.Conn) string { return "user " + c.String() }})
		clients := make([]*testutil.Client, n)
		for i := range clients {
			clients[i], _ = s.connect(testutil.Options{})
			go read(clients[i])
		}
		p := s.open()
		size := func() int { return len(p.sent[len(p.sent)-1]) }
		u := p.next()
		if u.Total != n || u.Matches != n || len(p.order) != most || len(u.Rows) != most {
			t.Fatalf("%d of %d, %d in order, %d rows", u.Matches, u.Total, len(p.order), len(u.Rows))
		}
		if size() > 60_000 {
			t.Errorf("the first update has %d bytes", size())
		}
		if u = p.next(); u.Rows != nil || size() > 1000 {
			t.Errorf("when nothing has changed, %d rows are sent, in %d bytes", len(u.Rows), size())
		}
		testutil.Pass(10 * time.Millisecond)
		for _, err := range s.worker.PushEach(context.Background(), s.worker.Conns(), wspush.Text, []byte("hello, everyone")) {
			if err != nil {
				t.Error(err)
			}
		}
		u = p.until("changes", func(u update) bool { return len(u.Rows) > 0 })
		if len(u.Rows) != most || size() > 30_000 {
			t.Errorf("when everything has changed, %d rows are sent, in %d bytes", len(u.Rows), size())
		}
		p.client.Close()
		for _, c := range clients {
			c.Close()
		}
	})
}
