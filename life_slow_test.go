package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// slowly connects a client that offers compression, in a bubble, and has what it is sent read. Frames are "ping", "close 1008 reason" and
// the like, each with the time since the beginning.
func slowly(t *testing.T, opts wspush.HandlerOptions, test func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client, frames func() []string)) {
	synctest.Test(t, func(t *testing.T) {
		opts.Compression = true
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"127.0.0.1:1"}})
		client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, &opts)), testutil.Options{Timeout: -1, Header: deflating})
		conn, _ := greeted(t, w, client)
		synctest.Wait()
		begin := time.Now()
		var mu sync.Mutex // guards got
		var got []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				f, err := client.ReadFrame()
				if err != nil {
					return
				}
				what := f.Op.String()
				if f.Op == testutil.Close {
					what = fmt.Sprint("close ", int(f.Payload[0])<<8|int(f.Payload[1]), " ", string(f.Payload[2:]))
				}
				mu.Lock()
				got = append(got, fmt.Sprint(time.Since(begin), " ", what))
				mu.Unlock()
				if f.Op == testutil.Ping {
					_ = client.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: f.Payload})
				}
			}
		}()
		test(t, w, conn, client, func() []string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(got)
		})
		client.Close()
		<-done
	})
}

// trickle sends raw a byte at a time, each after a wait, as long as the connection is there.
func trickle(client *testutil.Client, wait time.Duration, raw []byte) {
	for _, b := range raw {
		testutil.Pass(wait)
		if _, err := client.Conn().Write([]byte{b}); err != nil {
			return
		}
	}
}

// A client that is in the middle of a message is closed when ReadTimeout has passed since the first byte, whatever it sends meanwhile.
func TestReadTimeout(t *testing.T) {
	const limit = 20 * time.Second
	whole := wire(frame(true, testutil.Text, strings.Repeat("x", 200)))
	long := wire(frame(true, testutil.Binary, strings.Repeat("x", 300)))
	first := wire(frame(false, testutil.Text, "x"))
	squeezed := wire(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Text, Masked: true, Payload: testutil.Deflate([]byte(strings.Repeat("0123456789", 300)))})
	send := func(raw ...[]byte) func(client *testutil.Client) {
		return func(client *testutil.Client) { client.Write(slices.Concat(raw...)) }
	}
	tests := map[string]func(client *testutil.Client){
		"a byte of a header":       send(whole[:1]),
		"half a header":            send(whole[:5]),
		"half a long header":       send(long[:3]),
		"a header":                 send(whole[:8]),
		"half a message":           send(whole[:100]),
		"half a compressed one":    send(squeezed[:len(squeezed)-1]),
		"one frame of several":     send(first),
		"half of the second frame": send(first, wire(frame(true, testutil.Continuation, "xyz"))[:8]),
		"a ping within":            send(first, wire(frame(true, testutil.Ping, "?"))),
		"behind another message":   send(whole, whole[:100]),
		"behind a ping":            send(wire(frame(true, testutil.Ping, "?")), whole[:100]),
		"a byte a second":          func(client *testutil.Client) { client.Write(whole[:1]); trickle(client, time.Second, whole[1:]) },
		"a compressed byte a second": func(client *testutil.Client) {
			client.Write(squeezed[:1])
			trickle(client, time.Second, squeezed[1:])
		},
		"empty frames": func(client *testutil.Client) {
			client.Write(first)
			for range 100 {
				testutil.Pass(time.Second)
				if client.WriteFrame(frame(false, testutil.Continuation, "")) != nil {
					return
				}
			}
		},
		"pings within, without end": func(client *testutil.Client) {
			client.Write(first)
			for range 100 {
				testutil.Pass(time.Second)
				if client.WriteFrame(frame(true, testutil.Ping, "?")) != nil {
					return
				}
			}
		},
		"pings within, each in halves": func(client *testutil.Client) {
			client.Write(first)
			for range 20 {
				trickle(client, time.Second/2, wire(frame(true, testutil.Ping, "")))
			}
		},
		"pongs within, for pings": func(client *testutil.Client) { client.Write(first) },
		"a ping within that comes too late": func(client *testutil.Client) {
			client.Write(first)
			testutil.Pass(limit - 2*time.Second)
			client.Write(wire(frame(true, testutil.Ping, "?"))[:1])
		},
	}
	for name, act := range tests {
		for _, onMessage := range []func(*wspush.Conn, wspush.MessageType, []byte){nil, func(*wspush.Conn, wspush.MessageType, []byte) {}} {
			t.Run(fmt.Sprintf("%s, read: %t", name, onMessage != nil), func(t *testing.T) {
				ends := make(chan error, 1)
				opts := wspush.HandlerOptions{
					ReadTimeout: limit, PingInterval: -1, IdleTimeout: -1, OnMessage: onMessage,
					OnDisconnect: func(_ *wspush.Conn, reason error) { ends <- reason },
				}
				if strings.HasPrefix(name, "pongs") {
					opts.PingInterval, opts.IdleTimeout = 3*time.Second, 7*time.Second
				}
				slowly(t, opts, func(t *testing.T, _ *wspush.Worker, _ *wspush.Conn, client *testutil.Client, frames func() []string) {
					testutil.Pass(time.Minute) // silence is nothing that it counts
					acted := make(chan struct{})
					go func() {
						defer close(acted)
						act(client)
					}()
					defer func() {
						client.Close()
						<-acted
					}()
					testutil.Pass(limit - 1)
					got := frames()
					if len(got) > 0 && strings.Contains(got[len(got)-1], "close") {
						t.Fatalf("it ended early: %q", got)
					}
					testutil.Pass(1)
					got = frames()
					if last := got[len(got)-1]; last != "1m20s close 1008 message too slow" {
						t.Fatalf("%q, and at last %q", got, last)
					}
					testutil.Pass(time.Minute) // until the wait for the client's close frame is over
					var closed *wspush.CloseError
					if err := <-ends; !errors.As(err, &closed) || closed.Cause != wspush.CauseProtocol || closed.Code != 1008 || !strings.Contains(err.Error(), "20s") {
						t.Error(err)
					}
				})
			})
		}
	}
}

// A message that comes in slowly, but in time, is a message, and so is what comes long after it.
func TestReadTimeoutKept(t *testing.T) {
	const limit = 20 * time.Second
	var got []string
	opts := wspush.HandlerOptions{
		ReadTimeout: limit, PingInterval: 5 * time.Minute, IdleTimeout: time.Hour,
		OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { got = append(got, string(data)) },
	}
	slowly(t, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client, frames func() []string) {
		raw := wire(frame(false, testutil.Text, "he"), frame(true, testutil.Ping, "?"), frame(true, testutil.Continuation, "llo"))
		squeezed := wire(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Text, Masked: true, Payload: testutil.Deflate([]byte("hello"))})
		rounds := 0
		for _, raw := range [][]byte{raw, squeezed, wire(frame(true, testutil.Text, "hello"))} {
			for range 3 {
				rounds++
				client.Write(raw[:1])
				trickle(client, (limit-time.Second)/time.Duration(len(raw)-1), raw[1:])
				synctest.Wait()
			}
			testutil.Pass(3 * limit)
			client.Write(raw)
			rounds++
		}
		testutil.Pass(3 * limit)
		if _, err := conn.Push(context.Background(), wspush.Text, []byte("x"), wspush.Confirmed()); err != nil {
			t.Error(err)
		}
		if sent := strings.Join(frames(), ", "); strings.Contains(sent, "close") {
			t.Error(sent)
		}
		if want := slices.Repeat([]string{"hello"}, rounds); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

// A negative ReadTimeout is none: then a client may be in the middle of a message as long as it answers pings.
func TestReadTimeoutNone(t *testing.T) {
	for name, limit := range map[string]time.Duration{"none": -1, "default": 0} {
		t.Run(name, func(t *testing.T) {
			slowly(t, wspush.HandlerOptions{ReadTimeout: limit}, func(t *testing.T, _ *wspush.Worker, _ *wspush.Conn, client *testutil.Client, frames func() []string) {
				client.Write(wire(frame(false, testutil.Text, "he")))
				testutil.Pass(time.Minute - 1)
				if got := frames(); len(got) != 0 {
					t.Fatalf("%q", got)
				}
				testutil.Pass(24*time.Hour - time.Minute + 1)
				got := frames()
				if limit < 0 && len(got) != 24*12 || limit == 0 && !slices.Equal(got, []string{"1m0s close 1008 message too slow"}) {
					t.Errorf("%d frames, among them %q", len(got), got[len(got)-1])
				}
			})
		})
	}
}

// A control frame has 5 s from its first byte to its last, outside of a message and within, and whatever ReadTimeout is.
func TestControlTimeout(t *testing.T) {
	ping := wire(frame(true, testutil.Ping, strings.Repeat("?", 125)))
	tests := map[string][2][]byte{ // what comes at once, and what comes a byte a second
		"a byte":            {ping[:1], nil},
		"half a header":     {ping[:4], nil},
		"a header":          {ping[:6], nil},
		"all but a byte":    {ping[:130], nil},
		"a byte a second":   {ping[:1], ping[1:]},
		"a pong":            {wire(frame(true, testutil.Pong, "12345678"))[:1], wire(frame(true, testutil.Pong, "12345678"))[1:]},
		"a close frame":     {wire(frame(true, testutil.Close, "\x03\xe8"))[:1], nil},
		"within a message":  {slices.Concat(wire(frame(false, testutil.Text, "x")), ping[:1]), ping[1:]},
		"behind others":     {slices.Concat(ping, ping, ping[:3]), ping[3:]},
		"behind a message":  {slices.Concat(wire(frame(true, testutil.Text, "x")), ping[:3]), nil},
		"between fragments": {slices.Concat(wire(frame(false, testutil.Text, "x"), frame(false, testutil.Continuation, "y")), ping[:3]), nil},
	}
	for name, tt := range tests {
		for _, limit := range []time.Duration{0, -1} {
			t.Run(fmt.Sprint(name, limit), func(t *testing.T) {
				slowly(t, wspush.HandlerOptions{ReadTimeout: limit}, func(t *testing.T, _ *wspush.Worker, _ *wspush.Conn, client *testutil.Client, frames func() []string) {
					acted := make(chan struct{})
					go func() {
						defer close(acted)
						_, _ = client.Conn().Write(tt[0])
						trickle(client, time.Second, tt[1])
					}()
					defer func() {
						client.Close()
						<-acted
					}()
					testutil.Pass(5*time.Second - 1)
					if got := frames(); len(got) > 0 && strings.Contains(got[len(got)-1], "close") {
						t.Fatalf("%q", got)
					}
					testutil.Pass(1)
					if got := frames(); len(got) == 0 || got[len(got)-1] != "5s close 1002 protocol error" {
						t.Errorf("%q", got)
					}
				})
			})
		}
	}
}

// What one message takes on the wire is bounded by a small multiple of ReadLimit, whatever it consists of, and whatever it inflates to.
func TestWireLimit(t *testing.T) {
	const limit = 1024
	const most = 8*limit + 1024
	begin := wire(frame(false, testutil.Binary, "x"))
	empty := wire(frame(false, testutil.Continuation, ""))
	squeezed := func(fin bool, op testutil.Opcode, rsv byte, payload string) []byte {
		return wire(testutil.Frame{Fin: fin, Rsv: rsv, Op: op, Masked: true, Payload: []byte(payload)})
	}
	nothing := strings.Repeat("\x00\x00\x00\xff\xff", 200) // stored blocks without data, as flushes make them
	tests := map[string]struct {
		first, then []byte // then comes again and again
	}{
		"empty frames":                {begin, empty},
		"an empty first frame":        {wire(frame(false, testutil.Text, "")), empty},
		"pings":                       {begin, wire(frame(true, testutil.Ping, strings.Repeat("?", 125)))},
		"empty pings":                 {begin, wire(frame(true, testutil.Ping, ""))},
		"pongs":                       {begin, wire(frame(true, testutil.Pong, "1"))},
		"pings and empty frames":      {begin, slices.Concat(wire(frame(true, testutil.Ping, "??")), empty)},
		"compressed nothing":          {squeezed(false, testutil.Binary, 4, ""), squeezed(false, testutil.Continuation, 0, nothing)},
		"compressed nothing, in text": {squeezed(false, testutil.Text, 4, nothing), squeezed(false, testutil.Continuation, 0, nothing)},
		"compressed, empty frames":    {squeezed(false, testutil.Binary, 4, ""), empty},
		"compressed final blocks":     {squeezed(false, testutil.Binary, 4, ""), squeezed(false, testutil.Continuation, 0, strings.Repeat("\x03\x00", 100))},
		"one frame of nothing":        {wire(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Binary, Masked: true, Payload: bytes.Repeat([]byte(nothing), 100)}), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			slowly(t, wspush.HandlerOptions{ReadLimit: limit}, func(t *testing.T, w *wspush.Worker, _ *wspush.Conn, client *testutil.Client, frames func() []string) {
				before := w.Stats().BytesReceived
				acted := make(chan struct{})
				defer func() {
					client.Close()
					<-acted
				}()
				go func() {
					defer close(acted)
					written, err := client.Conn().Write(tt.first)
					defer func() { // what comes behind the violation is read, but not without end
						if written > most+4<<20+64<<10 {
							t.Errorf("%d bytes were read", written)
						}
					}()
					for range 100_000 {
						if err != nil || len(tt.then) == 0 {
							return
						}
						var n int
						n, err = client.Conn().Write(tt.then)
						written += n
					}
				}()
				got := frames()
				if len(got) == 0 || got[len(got)-1] != "0s close 1009 message too big" {
					t.Fatalf("%d frames, at last %q", len(got), got[max(0, len(got)-1):])
				}
				// The frame that is too much is judged by its header, or by all of it if it is a control frame.
				if n := int(w.Stats().BytesReceived - before); n > most+16<<10 || len(tt.then) > 0 && len(tt.then) < 200 && n <= most-len(tt.then) {
					t.Errorf("%d bytes were taken", n)
				}
			})
		})
	}
}

// A message of ReadLimit may have a frame for each byte, and pings between them; and pongs to any number of pings that the server has sent.
func TestWithinWireLimit(t *testing.T) {
	const limit = 1024
	var got []int
	opts := wspush.HandlerOptions{ReadLimit: limit, OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { got = append(got, len(data)) }}
	slowly(t, opts, func(t *testing.T, _ *wspush.Worker, conn *wspush.Conn, client *testutil.Client, frames func() []string) {
		var raw []byte
		for i := range limit {
			op := testutil.Continuation
			if i == 0 {
				op = testutil.Binary
			}
			raw = append(raw, wire(frame(i == limit-1, op, "x"))...)
			if i%limit/8 == 0 && i > 0 {
				raw = append(raw, wire(frame(true, testutil.Ping, "are you there?"))...)
			}
		}
		client.Write(raw)
		synctest.Wait()
		client.Write(wire(frame(false, testutil.Text, "x")))
		for range 1000 { // the client answers the pings that confirm these
			if _, err := conn.Push(context.Background(), wspush.Text, nil, wspush.Confirmed()); err != nil {
				t.Fatal(err)
			}
		}
		client.Write(wire(frame(true, testutil.Continuation, "y")))
		if sent := frames(); strings.Contains(sent[len(sent)-1], "close") {
			t.Errorf("%q", sent[len(sent)-1])
		}
		if !slices.Equal(got, []int{limit, 2}) {
			t.Errorf("messages of %d bytes", got)
		}
	})
}

// Without a ReadLimit there is none on the wire either.
func TestNoWireLimit(t *testing.T) {
	slowly(t, wspush.HandlerOptions{ReadLimit: -1}, func(t *testing.T, _ *wspush.Worker, _ *wspush.Conn, client *testutil.Client, frames func() []string) {
		client.Write(wire(frame(false, testutil.Binary, "x")))
		for range 20_000 {
			client.Write(wire(frame(false, testutil.Continuation, "")))
		}
		if got := frames(); len(got) > 0 {
			t.Errorf("%q", got)
		}
	})
}
