package testutil

import (
	"net"
	"testing"
)

func TestMessageRefuses(t *testing.T) {
	start := Frame{Op: Text, Payload: []byte("a")}
	for name, test := range map[string]struct {
		frames []Frame
		want   string
	}{
		"masked":                   {[]Frame{{Fin: true, Op: Text, Masked: true}}, "masked frame"},
		"nothing to continue":      {[]Frame{whole(Continuation, "")}, "nothing to continue"},
		"message within a message": {[]Frame{start, whole(Text, "")}, "in the middle of a message"},
		"bits in a continuation":   {[]Frame{start, {Fin: true, Rsv: 4}}, "in the middle of a message"},
		"RSV2":                     {[]Frame{{Fin: true, Rsv: 2, Op: Text}}, "reserved bits"},
		"RSV1 in a ping":           {[]Frame{{Fin: true, Rsv: 4, Op: Ping}}, "reserved bits in a control frame"},
		"not UTF-8":                {[]Frame{whole(Text, "\xff")}, "not UTF-8"},
		"UTF-8 cut at the end":     {[]Frame{{Op: Text, Payload: []byte("\xc3")}, whole(Continuation, "")}, "not UTF-8"},
		"binary":                   {[]Frame{whole(Binary, "b")}, "got a binary message"},
		"close":                    {[]Frame{whole(Close, "\x03\xe8bye")}, `closed by the server: 1000 "bye"`},
		"close without a code":     {[]Frame{whole(Close, "")}, `closed by the server: 1005 ""`},
		"close with half a code":   {[]Frame{whole(Close, "\x03")}, "half a code"},
		"close with 1006":          {[]Frame{whole(Close, "\x03\xee")}, "must not be sent"},
		"close with 2999":          {[]Frame{whole(Close, "\x0b\xb7")}, "must not be sent"},
		"close reason not UTF-8":   {[]Frame{whole(Close, "\x03\xe8\xff")}, "not UTF-8"},
		"UTF-8 cut between frames": {[]Frame{{Op: Text, Payload: []byte("\xc3")}, whole(Continuation, "\xa9")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			wantFailure(t, test.want, func(tb testing.TB) {
				Handshake(tb, Pipe(tb, says(tb, test.frames...)), Options{}).Text()
			})
		})
	}
}

func TestExpectFails(t *testing.T) {
	for want, test := range map[string]func(c *Client){
		`got a text of 1 bytes "a", want a text of 1 bytes "b"`: func(c *Client) { c.Expect(Text, "b") },
		`got a text of 1 bytes "a", want a pong of 1 bytes "a"`: func(c *Client) { c.Expect(Pong, "a") },
		`want a text of 1 bytes "b": closed by the server`:      func(c *Client) { c.Expect(Text, "a"); c.Expect(Text, "b") },
		`waiting for the end: got a text frame`:                 func(c *Client) { c.AwaitEOF() },
		`sending 1 raw bytes: `:                                 func(c *Client) { c.Close(); c.Write([]byte("x")) },
		`sending a text frame`:                                  func(c *Client) { c.Close(); c.Send(Text, nil) },
		`reading a frame: `:                                     func(c *Client) { c.Close(); c.NextFrame() },
		`waiting for a close frame: `:                           func(c *Client) { c.Close(); c.AwaitClose() },
	} {
		wantFailure(t, want, func(tb testing.TB) {
			test(Handshake(tb, Pipe(tb, says(tb, whole(Text, "a"), whole(Close, ""))), Options{}))
		})
	}
}

func TestAwaitEOFTellsReset(t *testing.T) {
	h := upgrade(t, "", func(p *peer) {
		p.want(Text, "go")
		if err := p.conn.(*net.TCPConn).SetLinger(0); err != nil {
			t.Error(err)
		}
	})
	wantFailure(t, "reset the connection (RST)", func(tb testing.TB) {
		c := Dial(tb, Serve(tb, h), Options{})
		c.Send(Text, []byte("go"))
		c.AwaitEOF()
	})
}
