package wspushtest_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/wspushtest"
)

// The ID is read from the default greeting in any of its forms, and from no other greeting.
func TestGreetings(t *testing.T) {
	key := testutil.Key("k")
	none := func(*wspush.Conn) string { return "" }
	greeting := func(text string) func(*wspush.Conn) (wspush.MessageType, []byte) {
		return func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(text) }
	}
	tests := []struct {
		name      string
		opts      wspushtest.Options
		addresses int
		id        func(c *wspush.Conn) string
	}{
		{"one address", wspushtest.Options{}, 1, (*wspush.Conn).ID},
		{"two addresses", wspushtest.Options{Worker: wspush.WorkerOptions{Advertise: []string{"https://a.test/x", "10.0.0.5:9000"}}}, 2, (*wspush.Conn).ID},
		{"sealed", wspushtest.Options{Worker: wspush.WorkerOptions{
			PublicURL: "https://push.test", Cluster: &wspush.Cluster{Keys: [][]byte{key}, Address: "http://10.0.0.5:9000"}}}, 1, (*wspush.Conn).SealedID},
		{"paths", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			return wspush.Text, []byte(strings.Join(c.PathAddresses(), ","))
		}}}, 1, (*wspush.Conn).ID},
		{"another", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: greeting("hello, you")}}, 0, none},
		{"a URL with a user", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: greeting("http://you@example.com/ws")}}, 0, none},
		{"a URL", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: greeting("http://example.com/@connections/you")}}, 0, none},
		{"none", wspushtest.Options{
			Handler: wspush.HandlerOptions{Greeting: func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, nil }},
			Client:  wspushtest.ClientOptions{NoGreeting: true},
		}, 0, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := wspushtest.New(t, &tt.opts)
				c := s.Connect()
				synctest.Wait()
				for conn := range s.Worker.Conns() {
					if want := tt.id(conn); c.ID != want || len(c.Addresses) != tt.addresses {
						t.Errorf("ID %q, addresses %q, of %v; want ID %q, %d addresses", c.ID, c.Addresses, c.Greeting, want, tt.addresses)
					}
					if c.ID == "" {
						c.ID = conn.ID()
					}
				}
				s.PushAndExpect(c, "found")
			})
		})
	}
}
