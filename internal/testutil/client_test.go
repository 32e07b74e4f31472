package testutil

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMessage(t *testing.T) {
	h := upgrade(t, "", func(p *peer) {
		p.send(whole(Pong, "nobody asked"), Frame{Op: Text, Payload: []byte("Hel")}, whole(Ping, "there?"))
		p.want(Pong, "there?")
		p.send(Frame{Op: Continuation}, whole(Continuation, "lo"), whole(Binary, "\xff"), whole(Text, ""), whole(Text, "x"))
		p.want(Binary, "thanks")
		p.send(whole(Ping, "seen"), whole(Close, "\x03\xf4restart"))
		p.want(Pong, "seen")
		p.want(Close, "\x03\xf4")
	})
	c := Handshake(t, Pipe(t, h), Options{})
	if got := c.Text(); got != "Hello" {
		t.Errorf("got %q", got)
	}
	c.Expect(Binary, "\xff")
	c.Expect(Text, "")
	if op, message, err := c.Message(); op != Text || string(message) != "x" || err != nil {
		t.Errorf("got %v, %q, %v", op, message, err)
	}
	c.Send(Binary, []byte("thanks"))
	_, _, err := c.Message()
	if closed := (*CloseError)(nil); !errors.As(err, &closed) || *closed != (CloseError{1012, "restart"}) {
		t.Errorf("got %v", err)
	}
	c.AwaitEOF()
}

func TestFrames(t *testing.T) {
	h := upgrade(t, "", func(p *peer) {
		p.want(Ping, "one")
		p.send(whole(Pong, "one"), Frame{Rsv: 2, Op: Text, Payload: []byte("two")}, whole(Ping, ""))
		if f, err := readFrame(p.br); err != nil || f.Masked || f.Op != Binary || f.Rsv != 1 {
			t.Errorf("server: got a %v, %v", f, err)
		}
		p.want(Text, "raw")
		p.wantEnd()
	})
	c := Dial(t, Serve(t, h), Options{})
	c.Send(Ping, []byte("one"))
	c.Expect(Pong, "one")
	if f := c.NextFrame(); f.Fin || f.Rsv != 2 || f.Op != Text || f.Masked || string(f.Payload) != "two" {
		t.Errorf("got a %v", f)
	}
	c.Expect(Ping, "") // and does not answer it
	if err := c.WriteFrame(Frame{Rsv: 1, Op: Binary}); err != nil {
		t.Error(err)
	}
	raw := AppendFrame(nil, Frame{Fin: true, Op: Text, Masked: true, Payload: []byte("raw")}, [4]byte{})
	c.Write(raw[:3])
	c.Write(raw[3:])
	if err := c.Conn().(*net.TCPConn).CloseWrite(); err != nil {
		t.Error(err)
	}
	c.AwaitEOF()
}

func TestCompressedMessage(t *testing.T) {
	compressed := Deflate([]byte("Hello"))
	frames := []Frame{{Rsv: 4, Op: Text, Payload: compressed[:3]}, {Fin: true, Payload: compressed[3:]}}
	extension := http.Header{"Sec-WebSocket-Extensions": {"permessage-deflate"}}
	h := upgrade(t, "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n", func(p *peer) {
		p.send(frames...)
		p.send(whole(Text, "plain"))
	})
	c := Handshake(t, Pipe(t, h), Options{Header: extension})
	c.Expect(Text, "Hello")
	c.Expect(Text, "plain")

	wantFailure(t, "reserved bits that no extension allows", func(tb testing.TB) {
		Handshake(tb, Pipe(tb, says(tb, frames...)), Options{Header: extension}).Text()
	})
}

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

func TestMessageCut(t *testing.T) {
	h := upgrade(t, "", func(p *peer) { p.send(Frame{Op: Text}) })
	if _, _, err := Handshake(t, Pipe(t, h), Options{}).Message(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
	h = upgrade(t, "", func(*peer) {})
	if _, _, err := Handshake(t, Pipe(t, h), Options{}).Message(); err != io.EOF {
		t.Errorf("got %v, want %v", err, io.EOF)
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

func TestCloseHandshake(t *testing.T) {
	// Begun by the server: the code comes back, without the reason.
	h := upgrade(t, "", func(p *peer) {
		p.send(whole(Text, "skipped"), Frame{Op: Binary}, whole(Close, "\x03\xe9idle timeout"))
		p.want(Close, "\x03\xe9")
	})
	c := Dial(t, Serve(t, h), Options{})
	if code, reason := c.AwaitClose(); code != 1001 || reason != "idle timeout" {
		t.Errorf("got %d %q", code, reason)
	}
	c.AwaitEOF()

	// Begun by the client: the server's answer is not answered.
	h = upgrade(t, "", func(p *peer) {
		p.want(Close, "\x03\xe8bye")
		p.send(whole(Close, "\x03\xe8"))
		p.wantEnd()
	})
	c = Dial(t, Serve(t, h), Options{})
	c.SendClose(1000, "bye")
	if code, reason := c.AwaitClose(); code != 1000 || reason != "" {
		t.Errorf("got %d %q", code, reason)
	}
	c.Close()

	// Neither side gives a code.
	h = upgrade(t, "", func(p *peer) {
		p.want(Close, "")
		p.send(whole(Close, ""))
	})
	c = Dial(t, Serve(t, h), Options{})
	c.SendClose(0, "")
	if code, _ := c.AwaitClose(); code != 1005 {
		t.Errorf("got %d", code)
	}
	c.AwaitEOF()
}

func TestSilent(t *testing.T) {
	h := upgrade(t, "", func(p *peer) {
		p.send(whole(Ping, ""), whole(Close, "\x03\xe9"))
		p.wantEnd()
	})
	c := Dial(t, Serve(t, h), Options{Silent: true})
	if code, _ := c.AwaitClose(); code != 1001 {
		t.Errorf("got %d", code)
	}
	c.Close()
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

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		h := upgrade(t, "", func(*peer) { <-stop }) // neither reads nor writes
		c := Handshake(t, Pipe(t, h), Options{Timeout: time.Minute})
		start := time.Now()
		if _, err := c.ReadFrame(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("reading: %v after %v", err, time.Since(start))
		}
		// Two writers, one of which waits for its turn.
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if err := c.WriteFrame(Frame{}); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("writing: %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 3*time.Minute {
			t.Errorf("gave up after %v", took)
		}
		close(stop)
	})
}

// What the option is for: an hour of pings in no time.
func TestNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := upgrade(t, "", func(p *peer) {
			for range 12 {
				<-time.After(5 * time.Minute)
				p.send(whole(Ping, "still there?"))
				p.want(Pong, "still there?")
			}
			p.send(whole(Text, "bye"))
		})
		c := Handshake(t, Pipe(t, h), Options{Timeout: -1})
		start := time.Now()
		c.Expect(Text, "bye")
		if took := time.Since(start); took != time.Hour {
			t.Errorf("took %v", took)
		}
		c.AwaitEOF()
	})
}

// One goroutine reads, and answers pings, while others write.
func TestConcurrentUse(t *testing.T) {
	const writers, each = 4, 50
	long := strings.Repeat("x", 10000)
	h := upgrade(t, "", func(p *peer) {
		p.send(whole(Ping, "p"), whole(Ping, "p"), whole(Text, "go"))
		count := map[Opcode]int{}
		for range writers*each + 2 {
			f, err := readFrame(p.br)
			if err != nil || f.Op == Text && string(f.Payload) != long {
				t.Errorf("server: got a %v, %v", f, err)
				return
			}
			count[f.Op]++
		}
		if count[Text] != writers*each || count[Pong] != 2 {
			t.Errorf("server: got %v", count)
		}
		p.send(whole(Text, "done"))
	})
	for _, conn := range []func() *Client{
		func() *Client { return Dial(t, Serve(t, h), Options{}) },
		func() *Client { return Handshake(t, Pipe(t, h), Options{}) },
	} {
		c := conn()
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range each {
					if err := c.WriteFrame(Frame{Fin: true, Op: Text, Masked: true, Payload: []byte(long)}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		c.Expect(Text, "go")
		c.Expect(Text, "done")
		wg.Wait()
		c.AwaitEOF()
	}
}
