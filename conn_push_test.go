package wspush_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

// A stage is a kind of connection to a client. On each, a client that does not read soon blocks writes.
var stages = map[string]func(testing.TB, http.Handler) net.Conn{
	"tcp": func(t testing.TB, h http.Handler) net.Conn { return dialSmall(t, serveSmall(t, h, nil)) },
	"tls": func(t testing.TB, h http.Handler) net.Conn {
		cert, pool := testutil.NewCertificate(t)
		conn := dialSmall(t, serveSmall(t, h, &tls.Config{Certificates: []tls.Certificate{cert}}))
		return tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	},
	"pipe": testutil.Pipe,
}

// smallBuffers makes the kernel hold little for a connection.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(32 << 10)
	}
	return conn, err
}

// serveSmall serves h on connections with small buffers and returns its address.
func serveSmall(t testing.TB, h http.Handler, config *tls.Config) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, TLSConfig: config}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if config != nil {
			server.ServeTLS(smallBuffers{listener}, "", "")
		} else {
			server.Serve(smallBuffers{listener})
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return listener.Addr().String()
}

func dialSmall(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	return conn
}

// staged connects a client on each stage.
func staged(t *testing.T, wopts *wspush.WorkerOptions, test func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client)) {
	for name, connect := range stages {
		t.Run(name, func(t *testing.T) {
			w := newWorker(t, wopts)
			client := testutil.Handshake(t, connect(t, newHandler(t, w, nil)), testutil.Options{})
			conn, _ := greeted(t, w, client)
			test(t, w, conn, client)
		})
	}
}

// big is more than any stage's buffers hold, and takes several writes.
var big = strings.Repeat("0123456789abcdef", 64<<10/16*8)

// stall pushes data in a goroutine, and returns when part of it is written: the connection stays in the middle of the message
// until the client reads. The channel delivers the result of the push.
func stall(t testing.TB, ctx context.Context, conn *wspush.Conn, client *testutil.Client, data []byte) <-chan error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- outcome(conn.Push(ctx, wspush.Text, data)) }()
	testutil.Eventually(t, "the connection to stall", func() bool {
		brief, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		switch _, err := conn.Push(brief, wspush.Text, []byte("probe")); {
		case errors.Is(err, context.DeadlineExceeded):
			return conn.Info().Pending > 0 // it has waited behind data; otherwise the machine was slow
		case err != nil && !errors.Is(err, wspush.ErrUnknown):
			t.Fatal(err)
		}
		client.Expect(testutil.Text, "probe") // it was faster than data
		return false
	})
	return result
}

// nil means written: every byte of the message has been handed to the connection, so the client can read it even if nothing
// more happens.
func TestPushWritten(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		result := make(chan error, 1)
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, len(big)} {
			go func() { result <- outcome(w.Push(context.Background(), conn.ID(), wspush.Binary, []byte(big[:size]))) }()
			client.Expect(testutil.Binary, big[:size])
			if err := <-result; err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
		if s := w.Stats(); s.Written != 7 || s.Refused != 0 || s.Unknown != 0 || s.Accepted != 1 || s.Connections != 1 {
			t.Errorf("Stats: %+v", s)
		}
	})
}

// If the context has ended before the call, nothing is sent, and the connection goes on.
func TestPushCancelledBefore(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for range 200 {
			if _, err := conn.Push(ctx, wspush.Text, []byte("never")); !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v", err)
			}
		}
		go conn.Push(context.Background(), wspush.Text, []byte("fine"))
		client.Expect(testutil.Text, "fine")
	})
}

// A message that waits behind another is withdrawn when its context ends, and never sent.
func TestPushWithdrawn(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		first := stall(t, context.Background(), conn, client, []byte(big))
		ctx, cancel := context.WithCancel(context.Background())
		waiting := make(chan error, 100)
		for range cap(waiting) {
			go func() { waiting <- outcome(conn.Push(ctx, wspush.Text, []byte("never"))) }()
		}
		cancel()
		for range cap(waiting) {
			if err := <-waiting; !errors.Is(err, context.Canceled) || errors.Is(err, wspush.ErrUnknown) {
				t.Errorf("waiting behind a stalled message: %v", err)
			}
		}
		client.Expect(testutil.Text, big)
		if err := <-first; err != nil {
			t.Error(err)
		}
		go conn.Push(context.Background(), wspush.Text, []byte("next"))
		client.Expect(testutil.Text, "next")
	})
}

// A message that has begun is finished even if its context ends: the caller does not know the outcome, the connection goes
// on, and the caller may use its buffer again.
func TestPushUnknown(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx, cancel := context.WithCancel(context.Background())
		data := []byte(big)
		first := stall(t, ctx, conn, client, data)
		before := w.Stats().Unknown
		cancel()
		err := <-first
		if !errors.Is(err, wspush.ErrUnknown) || errors.Is(err, context.Canceled) || errors.Is(err, wspush.ErrGone) {
			t.Errorf("got %v", err)
		}
		if !strings.Contains(err.Error(), "open") {
			t.Errorf("%q does not say that the connection is open", err)
		}
		clear(data)
		client.Expect(testutil.Text, big)
		go conn.Push(context.Background(), wspush.Text, []byte("next"))
		client.Expect(testutil.Text, "next")
		if s := w.Stats(); s.Unknown != before+1 {
			t.Errorf("Stats: %+v", s)
		}
	})
}

// A hundred callers at once, whose contexts end at any moment: a message with a nil outcome arrives once, a withdrawn one never,
// and the connection lives.
func TestPushCancelledDuring(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		const callers, each = 100, 20
		var wg sync.WaitGroup
		outcome := make([]error, callers*each)
		for caller := range callers {
			wg.Go(func() {
				for n := range each {
					i := caller*each + n
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(2000))*time.Microsecond)
					data := fmt.Appendf(nil, "%d:%s", i, big[:rand.IntN(20_000)])
					_, outcome[i] = conn.Push(ctx, wspush.Text, data)
					clear(data)
					cancel()
				}
			})
		}
		go func() {
			wg.Wait()
			conn.Push(context.Background(), wspush.Text, []byte("end"))
		}()
		arrived := make([]int, len(outcome))
		for {
			message := client.Text()
			if message == "end" {
				break
			}
			var i int
			if _, err := fmt.Sscanf(message, "%d:", &i); err != nil {
				t.Fatalf("%.40q: %v", message, err)
			}
			arrived[i]++
			if _, rest, _ := strings.Cut(message, ":"); rest != big[:len(rest)] {
				t.Errorf("message %d is not what was pushed", i)
			}
		}
		wg.Wait() // as it has, which the race detector cannot see in what comes over a network
		count := map[string]int{}
		for i, err := range outcome {
			switch {
			case err == nil && arrived[i] == 1:
				count["written"]++
			case errors.Is(err, wspush.ErrUnknown) && arrived[i] == 1: // the connection went on, so it has to come
				count["unknown"]++
			case errors.Is(err, context.DeadlineExceeded) && arrived[i] == 0,
				errors.Is(err, wspush.ErrBusy) && arrived[i] == 0:
				count["withdrawn"]++
			default:
				t.Errorf("message %d arrived %d times; Push said %v", i, arrived[i], err)
			}
		}
		t.Log(count)
	})
}

// bubble runs a test over a net.Pipe in a bubble of fake time, where nothing is buffered and synctest.Wait knows that
// everyone waits.
func bubble(t *testing.T, wopts wspush.WorkerOptions, opts *wspush.HandlerOptions, test func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client)) {
	synctest.Test(t, func(t *testing.T) {
		wopts.NoListen = true
		wopts.Advertise = []string{"127.0.0.1:1"}
		w := newWorker(t, &wopts)
		client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, opts)), testutil.Options{Timeout: -1})
		conn, _ := greeted(t, w, client)
		synctest.Wait() // the client has the greeting; the server has to notice that it is written
		test(t, w, conn, client)
	})
}

// start calls Push in a goroutine. It returns when the push waits, or has returned.
func start(ctx context.Context, conn *wspush.Conn, data string) <-chan error {
	result := make(chan error, 1)
	go func() { result <- outcome(conn.Push(ctx, wspush.Text, []byte(data))) }()
	synctest.Wait()
	return result
}

// returned returns the result of a Push that must have returned.
func returned(t *testing.T, result <-chan error) error {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-result:
		return err
	default:
		t.Fatal("Push has not returned")
		return nil
	}
}

// Messages are written in the order in which Push was called.
func TestPushOrder(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		var results []<-chan error
		for i := range 200 {
			results = append(results, start(context.Background(), conn, fmt.Sprint(i)))
		}
		for i := range results {
			client.Expect(testutil.Text, fmt.Sprint(i))
			if err := returned(t, results[i]); err != nil {
				t.Error(err)
			}
		}
	})
}

// A push is admitted when nothing waits, whatever its size; otherwise only if it fits into MaxPending with what waits. Each
// message counts 512 bytes more than it has. Any other push is ErrBusy at once.
func TestPushBusy(t *testing.T) {
	bubble(t, wspush.WorkerOptions{MaxPending: 20_000}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		oversized := start(context.Background(), conn, big)
		if err := returned(t, start(context.Background(), conn, "")); !errors.Is(err, wspush.ErrBusy) {
			t.Errorf("behind more than MaxPending: %v", err)
		}
		client.Expect(testutil.Text, big)
		if err := returned(t, oversized); err != nil {
			t.Errorf("more than MaxPending, with nothing waiting: %v", err)
		}

		fits := []<-chan error{start(context.Background(), conn, big[:32])}
		for range 38 { // 32 + 39 × 512 = 20,000
			fits = append(fits, start(context.Background(), conn, ""))
		}
		if err := returned(t, start(context.Background(), conn, "")); !errors.Is(err, wspush.ErrBusy) {
			t.Errorf("an empty message too many: %v", err)
		}
		for i, result := range fits {
			if _, _, err := client.Message(); err != nil {
				t.Fatal(err)
			}
			if err := returned(t, result); err != nil {
				t.Errorf("message %d fits: %v", i, err)
			}
		}
		// A message that was written or withdrawn no longer counts.
		ctx, cancel := context.WithCancel(context.Background())
		last := start(context.Background(), conn, "a")
		waiting := start(ctx, conn, big[:9000])
		cancel()
		if err := returned(t, waiting); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		again := start(context.Background(), conn, big[:9000])
		client.Expect(testutil.Text, "a")
		client.Expect(testutil.Text, big[:9000])
		if err := errors.Join(returned(t, last), returned(t, again)); err != nil {
			t.Error(err)
		}
	})
}

// A negative MaxPending means that there is no limit.
func TestPushUnlimited(t *testing.T) {
	bubble(t, wspush.WorkerOptions{MaxPending: -1, MaxPushBytes: -1}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		var results []<-chan error
		for range 10 {
			results = append(results, start(context.Background(), conn, big))
		}
		for _, result := range results {
			client.Expect(testutil.Text, big)
			if err := returned(t, result); err != nil {
				t.Error(err)
			}
		}
	})
}

// A client that does not take 16 KiB in WriteTimeout is cut off: a message that has begun is unknown, the waiting ones were not
// written.
func TestWriteTimeout(t *testing.T) {
	bubble(t, wspush.WorkerOptions{WriteTimeout: 7 * time.Second}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		begin := time.Now()
		first := start(context.Background(), conn, big)
		second := start(context.Background(), conn, "second")
		<-conn.Context().Done()
		reason := context.Cause(conn.Context())
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("ended after %v", took)
		}
		var closed *wspush.CloseError
		if !errors.As(reason, &closed) || closed.Cause != wspush.CauseWriteTimeout || closed.Code != 1006 {
			t.Errorf("reason: %v", reason)
		}
		if err := returned(t, second); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("a message that waited: %v", err)
		}
		// Over a net.Pipe not one byte of the first is read, and the pipe says so.
		if err := returned(t, first); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("a message of which nothing was taken: %v", err)
		}
		if _, err := w.Push(context.Background(), conn.ID(), wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("a message to the connection that has ended: %v", err)
		}
	})
}

// The same over TCP, where the kernel has taken a part; and Push says that the connection is gone.
func TestWriteTimeoutWithin(t *testing.T) {
	for _, stage := range []string{"tcp", "tls"} {
		t.Run(stage, func(t *testing.T) {
			ended := make(chan error, 1)
			w := newWorker(t, &wspush.WorkerOptions{WriteTimeout: 300 * time.Millisecond})
			h := newHandler(t, w, &wspush.HandlerOptions{OnDisconnect: func(_ *wspush.Conn, reason error) { ended <- reason }})
			client := testutil.Handshake(t, stages[stage](t, h), testutil.Options{})
			conn, _ := greeted(t, w, client)
			_, err := conn.Push(context.Background(), wspush.Text, []byte(big))
			if !errors.Is(err, wspush.ErrUnknown) || !strings.Contains(err.Error(), "gone") {
				t.Errorf("got %v", err)
			}
			var closed *wspush.CloseError
			if reason := <-ended; !errors.As(reason, &closed) || closed.Cause != wspush.CauseWriteTimeout {
				t.Errorf("reason: %v", reason)
			}
			// A reset, so that the kernel does not keep what the client does not read.
			raw := client.Conn()
			if c, ok := raw.(*tls.Conn); ok {
				raw = c.NetConn()
			}
			if _, err := io.Copy(io.Discard, raw); !testutil.IsReset(err) {
				t.Errorf("the client's connection ended with %v", err)
			}
		})
	}
}

// A client that takes 16 KiB in each WriteTimeout is slow, but alive: a single deadline for the whole message would end it. No
// deadline stays set afterwards.
func TestSlowClientLives(t *testing.T) {
	bubble(t, wspush.WorkerOptions{WriteTimeout: 10 * time.Second}, &wspush.HandlerOptions{IdleTimeout: -1, PingInterval: -1}, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		result := start(context.Background(), conn, big)
		var got []byte
		for buf := make([]byte, 16<<10); len(got) < 10+len(big); { // the header is 10 bytes
			<-time.After(9 * time.Second)
			n, err := client.Conn().Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
		}
		if err := returned(t, result); err != nil {
			t.Error(err)
		}
		<-time.After(time.Hour)
		result = start(context.Background(), conn, "after a silence")
		client.Expect(testutil.Text, "after a silence")
		if err := returned(t, result); err != nil {
			t.Error(err)
		}
	})
}

// Over TCP, too, the deadline of a stalled message does not stay set for the next message.
func TestDeadlineNotLeft(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{WriteTimeout: 400 * time.Millisecond})
	client := testutil.Handshake(t, stages["tcp"](t, newHandler(t, w, nil)), testutil.Options{})
	conn, _ := greeted(t, w, client)
	result := make(chan error, 1)
	go func() { result <- outcome(conn.Push(context.Background(), wspush.Text, []byte(big))) }()
	client.Expect(testutil.Text, big)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	<-time.After(500 * time.Millisecond) // the kernel knows no fake time: the deadline has to pass
	if _, err := conn.Push(context.Background(), wspush.Text, []byte("next")); err != nil {
		t.Error(err)
	}
	client.Expect(testutil.Text, "next")
}

// A message that nobody could be sent is refused before it touches the connection.
func TestPushRefused(t *testing.T) {
	staged(t, &wspush.WorkerOptions{MaxPushBytes: 10}, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx := context.Background()
		for _, push := range map[string]func(wspush.MessageType, string) error{
			"Conn.Push": func(typ wspush.MessageType, data string) error { return outcome(conn.Push(ctx, typ, []byte(data))) },
			"Worker.Push": func(typ wspush.MessageType, data string) error {
				return outcome(w.Push(ctx, conn.ID(), typ, []byte(data)))
			},
			"PushEach": func(typ wspush.MessageType, data string) (err error) {
				for _, err = range w.PushEach(ctx, w.Conns(), typ, []byte(data)) {
				}
				return err
			},
		} {
			if err := push(wspush.Text, "\xff"); !errors.Is(err, wspush.ErrInvalidUTF8) {
				t.Errorf("invalid UTF-8: %v", err)
			}
			if err := push(wspush.Binary, "0123456789a"); !errors.Is(err, wspush.ErrTooLarge) {
				t.Errorf("11 bytes: %v", err)
			}
			if err := push(0, ""); err == nil {
				t.Error("a message of no type was pushed")
			}
		}
		go conn.Push(ctx, wspush.Binary, []byte("012345678\xff"))
		client.Expect(testutil.Binary, "012345678\xff")
		go w.Push(ctx, strings.ToUpper(conn.ID()), wspush.Text, []byte("upper"))
		client.Expect(testutil.Text, "upper")
	})
}

// numbered returns a message that has its number in every part, so that a piece of another message shows.
func numbered(i, size int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%d;", i), 1+size/len(fmt.Sprintf("%d;", i))))
}

// numberOf returns the number of a message, and whether the message is whole and pure.
func numberOf(message []byte) (i int, whole bool) {
	_, err := fmt.Sscanf(string(message), "%d;", &i)
	return i, err == nil && string(message) == string(numbered(i, len(message)-len(fmt.Sprintf("%d;", i))))
}

// Message structs are reused as soon as their callers have the outcome, and one pool serves all connections. Here, publishers
// whose contexts end before, during or after the push, or never, push to two clients, one of which vanishes. Each outcome must
// be that of the caller's own message, and each message must arrive once, as it was pushed, at its own client.
func TestOutcomesAreTheCallers(t *testing.T) {
	for name, connect := range stages {
		t.Run(name, func(t *testing.T) {
			const publishers, each = 8, 100
			w := newWorker(t, &wspush.WorkerOptions{MaxPending: -1})
			h := newHandler(t, w, nil)
			join := func() (*testutil.Client, *wspush.Conn) {
				client := testutil.Handshake(t, connect(t, h), testutil.Options{})
				conn, _ := greeted(t, w, client)
				return client, conn
			}
			stays, staying := join()
			leaves, leaving := join()

			// Even messages go to the client that stays, odd ones to the other.
			outcomes := make([]error, publishers*each)
			var sending sync.WaitGroup
			for p := range publishers {
				sending.Go(func() {
					for n := range each {
						i := p*each + n
						conn := staying
						if i%2 == 1 {
							conn = leaving
						}
						size := rand.IntN(200)
						if n%20 < 2 {
							size = rand.IntN(60_000) // more than the stage's buffers take at once
						}
						ctx, cancel := context.WithCancel(context.Background())
						switch kind := rand.IntN(8); {
						case p < publishers/2 || kind < 2:
							// never ends
						case kind == 2:
							cancel()
						default:
							defer time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel).Stop()
						}
						was := conn.Context().Err()
						data := numbered(i, size)
						_, err := conn.Push(ctx, wspush.Text, data)
						clear(data) // it is the caller's again
						outcomes[i] = err
						switch {
						case errors.Is(err, context.Canceled) != (err == context.Canceled), errors.Is(err, context.Canceled) && ctx.Err() == nil:
							t.Errorf("message %d: %v, but the context says %v", i, err, ctx.Err())
						case p < publishers/2 && conn == staying && err != nil:
							t.Errorf("message %d, with all the time there is: %v", i, err)
						case was != nil && err != context.Canceled && !errors.Is(err, wspush.ErrGone):
							t.Errorf("message %d, to a connection that had ended: %v", i, err)
						}
						cancel()
					}
				})
			}
			arrived := make([]int, len(outcomes)) // of each half by one goroutine
			take := func(message []byte, odd int) {
				i, whole := numberOf(message)
				if !whole || i%2 != odd {
					t.Errorf("client %d got %.60q", odd, message)
					return
				}
				arrived[i]++
			}
			var reading sync.WaitGroup
			reading.Go(func() {
				defer leaves.Close()
				for range publishers * each / 8 {
					_, message, err := leaves.Message()
					if err != nil {
						t.Error(err)
						return
					}
					take(message, 1)
				}
			})
			reading.Go(func() {
				for {
					_, message, err := stays.Message()
					if err != nil {
						t.Error(err)
						return
					}
					if string(message) == "end" {
						return
					}
					take(message, 0)
				}
			})
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				sending.Wait()
			}()
			receive(t, "the outcomes", sent)
			if _, err := staying.Push(context.Background(), wspush.Text, []byte("end")); err != nil {
				t.Error(err)
			}
			reading.Wait()

			count := map[string]int{}
			for i, err := range outcomes {
				client := []string{"stays", "leaves"}[i%2]
				times := arrived[i]
				switch {
				case err == nil && (times == 1 || times == 0 && i%2 == 1):
					count[client+": written"]++
				case errors.Is(err, wspush.ErrUnknown) && (times == 1 || times == 0 && i%2 == 1): // the connection went on: it has to come
					count[client+": unknown"]++
				case err == context.Canceled && times == 0:
					count[client+": withdrawn"]++
				case errors.Is(err, wspush.ErrGone) && times == 0 && i%2 == 1:
					count[client+": gone"]++
				default:
					t.Errorf("message %d to the client that %s arrived %d times; Push said %v", i, client, times, err)
				}
			}
			t.Log(count)
		})
	}
}

// TestMaxPendingAll: the bytes that wait for all clients together are bounded, and counted exactly: whatever becomes of them,
// the same number fits in again afterwards. Clients that read are still pushed to meanwhile.
func TestMaxPendingAll(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, cancel func(), conn *wspush.Conn, client *testutil.Client)
	}{
		{"they leave", func(_ *testing.T, _ func(), _ *wspush.Conn, client *testutil.Client) { client.Close() }},
		{"they read", func(_ *testing.T, _ func(), _ *wspush.Conn, client *testutil.Client) {
			go func() {
				for {
					if _, _, err := client.Message(); err != nil {
						return
					}
				}
			}()
		}},
		{"nobody waits for them, and they leave", func(_ *testing.T, cancel func(), _ *wspush.Conn, client *testutil.Client) {
			cancel()
			synctest.Wait()
			client.Close()
		}},
		{"they are closed", func(_ *testing.T, _ func(), conn *wspush.Conn, _ *testutil.Client) { conn.Close(1000, "") }},
		{"they are cut off", func(*testing.T, func(), *wspush.Conn, *testutil.Client) { <-time.After(time.Minute) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const stalled, size, limit = 4, 1000, 20_000 // a message counts 512 bytes more than it has
				w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.test"}, MaxPendingAll: limit})
				h := newHandler(t, w, nil)
				connect := func() (*wspush.Conn, *testutil.Client) {
					client := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
					conn, _ := greeted(t, w, client)
					synctest.Wait()
					return conn, client
				}
				healthy, reader := connect()
				go func() {
					for {
						if _, _, err := reader.Message(); err != nil {
							return
						}
					}
				}()
				data := strings.Repeat("x", size)
				for round := range 3 {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					var conns []*wspush.Conn
					var clients []*testutil.Client
					var results []<-chan error
					for range stalled {
						conn, client := connect()
						conns, clients = append(conns, conn), append(clients, client)
					}
					waiting := 0
					for i := 0; ; i++ {
						result := start(ctx, conns[i%stalled], data)
						if len(result) == 0 {
							results = append(results, result)
							waiting++
							continue
						}
						if err := <-result; !errors.Is(err, wspush.ErrBusy) {
							t.Fatalf("round %d: push %d: %v", round, i, err)
						}
						break
					}
					if want := limit / (size + 512); waiting != want {
						t.Errorf("round %d: %d messages wait, want %d", round, waiting, want)
					}
					for _, conn := range conns {
						if _, err := conn.Push(ctx, wspush.Text, []byte(data)); !errors.Is(err, wspush.ErrBusy) {
							t.Errorf("round %d: %v", round, err)
						}
						push := newRequest(t, "POST", "http://x/ws/@connections/"+conn.ID(), strings.NewReader(data))
						problem(t, recorded(w, push), 429, "busy", "")
					}
					for range 3 {
						if _, err := healthy.Push(ctx, wspush.Text, []byte(data)); err != nil {
							t.Errorf("round %d: a client that reads: %v", round, err)
						}
						synctest.Wait()
					}
					for i := range conns {
						tc.end(t, cancel, conns[i], clients[i])
					}
					for _, result := range results {
						<-result
					}
					for _, client := range clients {
						client.Close()
					}
					synctest.Wait()
				}
			})
		})
	}
}

// Large messages to clients for which nothing waits are refused once MaxPendingAll is reached; small ones are not. A message to many
// counts once.
func TestMaxPendingAllHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, size, limit = 40, 20_000, 100_000
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.test"}, MaxPendingAll: limit, WriteTimeout: -1})
		h := newHandler(t, w, nil)
		var conns []*wspush.Conn
		for range clients {
			conn, _ := greeted(t, w, testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1}))
			conns = append(conns, conn)
		}
		synctest.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		each := make(chan int, 1)
		go func() {
			n := 0
			for _, err := range w.PushEach(ctx, slices.Values(conns[:20]), wspush.Binary, make([]byte, size)) {
				if !errors.Is(err, wspush.ErrBusy) {
					n++
				}
			}
			each <- n
		}()
		synctest.Wait()
		if n := w.Stats().PendingBytes; n != size+20*512 {
			t.Errorf("%d bytes wait", n)
		}
		waiting, small := 0, 0
		for _, conn := range conns[20:30] {
			if result := start(ctx, conn, big[:size]); len(result) == 0 {
				waiting++
			}
		}
		if want := (limit - size - 20*512) / (size + 512); waiting != want || w.Stats().PendingBytes > limit {
			t.Errorf("%d large messages wait, want %d; %d bytes", waiting, want, w.Stats().PendingBytes)
		}
		for _, conn := range conns[30:] {
			if result := start(ctx, conn, big[:4096]); len(result) == 0 {
				small++
			}
		}
		if small != 10 || w.Stats().PendingBytes > limit+10*(4096+512) {
			t.Errorf("%d small messages wait, %d bytes", small, w.Stats().PendingBytes)
		}
		cancel()
		if n := <-each; n != 20 {
			t.Errorf("%d clients of PushEach were not busy", n)
		}
	})
}
