package socket

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/testutil"
)

// withSession runs a test with a session whose client reads what it is sent, in fake time.
func withSession(t *testing.T, test func(t *testing.T, m *model)) {
	for _, raw := range []bool{true, false} {
		t.Run(fmt.Sprintf("raw=%t", raw), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seed := uint64(1)
				if raw {
					seed = 2
				}
				m := newModel(t, seed)
				m.path.room = 1 << 20
				defer func() {
					for _, p := range m.paths {
						p.cut()
					}
					synctest.Wait()
				}()
				m.drain()
				m.answer()
				test(t, m)
			})
		})
	}
}

// drain has the endpoint and the page read all there is.
func (m *model) drain() {
	for synctest.Wait(); m.path.waiting(); synctest.Wait() {
		m.endpoint(1 << 30)
	}
	m.read(len(m.inbox))
}

// answer has the endpoint answer all pings.
func (m *model) answer() {
	for len(m.pings) > 0 {
		m.pong()
	}
	synctest.Wait()
}

// counts returns how many pings the present WebSocket has been given, and how many messages are kept. The alarm may be at work.
func (m *model) counts() (pings uint64, kept int) {
	m.outbox.mu.Lock()
	defer m.outbox.mu.Unlock()
	return m.socket.pings, len(m.outbox.spoken.kept)
}

// text pushes a text, and returns its outcome, or errWaits.
func (m *model) text(text string) error {
	result := make(chan error, 1)
	if pending, err := m.outbox.Start(NewMessage(false, []byte(text), func(err error) { result <- err })); !pending {
		return err
	}
	synctest.Wait()
	select {
	case err := <-result:
		return err
	default:
		return errWaits
	}
}

var errWaits = fmt.Errorf("it waits")

// resume has the client come back, and returns from where.
func (m *model) resume(offset uint64) (uint64, error) {
	m.newPath(1 << 20)
	s := m.newSocket()
	m.socket, m.stream, m.hello, m.pings, m.inbox, m.seen = s, nil, "", nil, nil, nil
	m.count = int(offset)
	m.outbox.prepare(s)
	from, err := m.outbox.Resume(s, offset)
	if err == nil {
		s.Hello(NewHello([]byte("hello again")))
	} else {
		s.Close(1002, "")
	}
	s.Release()
	m.drain()
	return from, err
}

func (m *model) saw(want ...string) {
	m.t.Helper()
	if got := strings.Join(m.seen, " "); got != strings.Join(want, " ") {
		m.t.Errorf("the page has seen %q, want %q", m.seen, want)
	}
}

// Nothing more begins while so much is unconfirmed, but one message of any size; the pong lets it go on. What is withdrawn before leaves no
// hole.
func TestMaxUnconfirmed(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		large := strings.Repeat("x", 40<<10) // MaxUnconfirmed is 16 KiB
		if err := m.text(large); err != nil {
			t.Fatal(err)
		}
		waits := NewMessage(false, []byte("2"), func(error) {})
		if pending, err := m.outbox.Start(waits); !pending {
			t.Fatal(err)
		}
		if err := m.text("3"); err != errWaits {
			t.Fatal(err)
		}
		m.drain()
		m.saw("greeting", large)
		if err, decided := m.outbox.Abandon(waits, context.Canceled); err != context.Canceled || !decided {
			t.Error(err, decided)
		}
		m.answer()
		m.drain()
		m.saw("greeting", large, "3")
		if m.outbox.Detach(m.socket); m.outbox.spoken.begun != 3 {
			t.Errorf("%d have begun", m.outbox.spoken.begun)
		}
		if from, err := m.resume(3); from != 3 || err != nil {
			t.Error(from, err)
		}
	})
}

// A client cannot have received more than it was sent. That it says so changes nothing.
func TestOffsetTooHigh(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		if err := m.text("2"); err != nil {
			t.Fatal(err)
		}
		m.drain()
		before := m.socket
		if _, err := m.resume(3); err != ErrOffset {
			t.Errorf("%v", err)
		}
		m.outbox.mu.Lock()
		if m.outbox.socket != before || m.outbox.spoken.begun != 2 {
			t.Error("the session has changed")
		}
		m.outbox.mu.Unlock()
		if from, err := m.resume(1); from != 1 || err != nil {
			t.Error(from, err)
		}
		m.saw("2")
		m.outbox.Detach(m.socket)
		if !m.outbox.End() || m.outbox.End() {
			t.Error("End")
		}
		if _, err := m.resume(2); err != ErrClosed {
			t.Errorf("%v", err)
		}
	})
}

// What was under way when the client went away counts as written if the WebSocket that had begun it has written the rest, before the session
// has ended or after.
func TestWrittenByTheFormerWebSocket(t *testing.T) {
	for name, test := range map[string]struct {
		finish func(m *model)
		want   bool
	}{
		"before the end": {func(m *model) { m.drain(); m.outbox.End() }, true},
		"after the end":  {func(m *model) { m.outbox.End(); m.drain() }, true},
		"never":          {func(m *model) { m.path.cut(); m.outbox.End() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			withSession(t, func(t *testing.T, m *model) {
				m.path.room, m.socket.compress = 1000, false
				if err := m.text(strings.Repeat("x", 10_000)); err != errWaits {
					t.Fatal(err)
				}
				if !m.outbox.Detach(m.socket) {
					t.Fatal("Detach")
				}
				m.socket.Close(1012, "")
				if err := m.text("not begun"); err != ErrBuffered {
					t.Fatal(err)
				}
				test.finish(m)
				synctest.Wait()
				got := m.outbox.Unconfirmed()
				if len(got) != 2 || len(got[0].Data) != 10_000 || got[0].Written != test.want || string(got[1].Data) != "not begun" || got[1].Written {
					t.Errorf("%d are unconfirmed; written: %t", len(got), got[0].Written)
				}
			})
		})
	}
}

// A message of which some was given to a WebSocket keeps its number, although the next WebSocket takes nothing of it: the former may have brought
// all of it.
func TestNumberIsFixed(t *testing.T) {
	for name, spoil := range map[string]func(p *path){
		"takes nothing": func(p *path) { p.room = 0 },
		"fails":         func(p *path) { p.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			withSession(t, func(t *testing.T, m *model) {
				m.path.room, m.socket.compress = 1000, false
				if err := m.text(strings.Repeat("x", 10_000)); err != errWaits {
					t.Fatal(err)
				}
				former := m.path
				m.newPath(0)
				spoil(m.path)
				s := m.newSocket()
				m.outbox.prepare(s)
				if from, err := m.outbox.Resume(s, 1); from != 1 || err != nil {
					t.Fatal(from, err)
				}
				s.Release()
				for synctest.Wait(); former.waiting(); synctest.Wait() {
					former.read(1 << 30)
				}
				if from, err := m.resume(2); from != 2 || err != nil {
					t.Error(from, err)
				}
				m.saw()
			})
		})
	}
}

// countingKeeper counts calls.
type countingKeeper struct{ calls int }

func (k *countingKeeper) Kept() { k.calls++ }

// The owner of a session is asked to call Confirm once, and not again before it has: neither for each message, nor never after.
func TestKeptIsCalledOnce(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		keeper := new(countingKeeper)
		m.outbox.spoken.keeper = keeper
		text := func(text string, calls int) {
			t.Helper()
			if err := m.text(text); err != nil {
				t.Fatal(err)
			}
			if keeper.calls != calls {
				t.Fatalf("after %q, Kept has been called %d times, want %d", text, keeper.calls, calls)
			}
		}
		text("2", 1)
		text("3", 1)
		testutil.Pass(time.Second)
		if again := m.outbox.Confirm(); again != ConfirmAfter-time.Second {
			t.Fatal(again)
		}
		text("4", 1) // Confirm will be called again
		testutil.Pass(ConfirmAfter)
		if again := m.outbox.Confirm(); again != 0 {
			t.Fatal(again)
		}
		text("5", 1) // behind the ping
		m.drain()
		m.answer()
		if keeper.calls != 2 {
			t.Fatalf("Kept has been called %d times, want 2: nobody else has the last message confirmed", keeper.calls)
		}
		testutil.Pass(ConfirmAfter)
		if again := m.outbox.Confirm(); again != 0 {
			t.Fatal(again)
		}
		m.drain()
		m.answer()
		text("6", 3)
	})
}

// What must wait for room does not wait for ConfirmAfter: the client is asked at once, although little is unconfirmed.
func TestRoomIsAskedFor(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		if err := m.text("2"); err != nil {
			t.Fatal(err)
		}
		large := strings.Repeat("x", 16<<10) // beside which there is no room for anything
		began := time.Now()
		if err := m.text(large); err != errWaits {
			t.Fatal(err)
		}
		m.drain()
		m.answer()
		m.drain()
		if m.saw("greeting", "2", large); time.Since(began) > 0 {
			t.Errorf("after %v", time.Since(began))
		}
	})
}

// delayWrites has f called before each write.
func (m *model) delayWrites(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.delay = f
}

// A WebSocket may still be writing a message when its sender is told that the client is away, and uses the data for something else.
func TestDataIsCopiedForTheWriter(t *testing.T) {
	withRawSession(t, func(t *testing.T, m *model) {
		text := strings.Repeat("x", copyMax+1)
		data, outcome := []byte(text), make(chan error, 1)
		first := func() { _, _ = m.outbox.Start(NewMessage(false, []byte("first"), func(error) {})) }
		m.stopWrite(first, func() { // its sender writes it
			if pending, err := m.outbox.Start(NewMessage(false, data, func(err error) { outcome <- err })); !pending {
				t.Error(err)
			}
			m.stopNextWrite(func() { // somebody else writes this one
				m.outbox.Detach(m.socket)
				if err := <-outcome; err != ErrBuffered {
					t.Error(err)
				}
				clear(data)
			})
		})
		m.drain()
		if last := m.seen[len(m.seen)-1]; last != text {
			t.Errorf("the page has seen %.10q…", last)
		}
	})
}

// duringWrite pushes a text, and calls f during the write of it, which takes nothing. It returns what the sender hears in the end.
func (m *model) duringWrite(text string, f func(message *Message)) <-chan error {
	m.path.mu.Lock()
	m.path.room = 0
	m.path.mu.Unlock()
	outcome := make(chan error, 1)
	message := NewMessage(false, []byte(text), func(err error) { outcome <- err })
	m.stopWrite(func() {
		if pending, err := m.outbox.Start(message); !pending {
			outcome <- err
		}
	}, func() { f(message) })
	return outcome
}

// stopWrite calls during in the middle of the first write of start.
func (m *model) stopWrite(start, during func()) {
	m.stopNextWrite(during)
	start()
	synctest.Wait()
}

// stopNextWrite calls during in the middle of the next write.
func (m *model) stopNextWrite(during func()) {
	m.delayWrites(func() {
		m.delayWrites(nil)
		during()
	})
}

// A message of which a write took nothing has not begun, also if the session ends during that write: its sender is told so, and it is not among
// the unconfirmed ones, of which somebody else would take care as well.
func TestWithheldAtTheEnd(t *testing.T) {
	for name, test := range map[string]struct {
		leaves bool
		want   error
	}{
		"its sender waits":    {false, ErrClosed},
		"its sender has left": {true, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			withRawSession(t, func(t *testing.T, m *model) {
				behind := make(chan error, 1)
				outcome := m.duringWrite("2", func(message *Message) {
					if pending, err := m.outbox.Start(NewMessage(false, []byte("3"), func(err error) { behind <- err })); !pending {
						t.Error(err)
					}
					if test.leaves {
						_, _ = m.outbox.Abandon(message, context.Canceled)
					}
					m.socket.Close(1000, "")
				})
				if err := <-outcome; err != test.want {
					t.Errorf("%v, want %v", err, test.want)
				}
				if err := <-behind; err != ErrClosed {
					t.Error(err)
				}
				m.socket.Reset()
				synctest.Wait()
				if all := m.outbox.Unconfirmed(); len(all) > 0 {
					t.Errorf("%v", all)
				}
				if m.outbox.Forget(); m.shared.pendingAll.cost.Load() != 0 {
					t.Errorf("%d bytes count in the end", m.shared.pendingAll.cost.Load())
				}
			})
		})
	}
}

// What has begun on one WebSocket is never told not to have begun because the next one takes nothing of it: not if the session ends during that
// write, and not if the sender leaves. Otherwise a number would be missing in the client's count.
func TestBegunStaysBegun(t *testing.T) {
	text := strings.Repeat("x", 10_000)
	for name, during := range map[string]func(m *model, message *Message, outcome chan error){
		"the session ends": func(m *model, _ *Message, _ chan error) { m.socket.Close(1000, "") },
		"its sender leaves": func(m *model, message *Message, outcome chan error) {
			err, decided := m.outbox.Abandon(message, context.Canceled)
			if decided {
				outcome <- err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			withRawSession(t, func(t *testing.T, m *model) {
				m.path.room, m.socket.compress = 1000, false
				outcome := make(chan error, 1)
				message := NewMessage(false, []byte(text), func(err error) { outcome <- err })
				if pending, err := m.outbox.Start(message); !pending {
					t.Fatal(err)
				}
				synctest.Wait()
				m.newPath(0)
				m.socket = m.newSocket()
				m.outbox.prepare(m.socket)
				if _, err := m.outbox.Resume(m.socket, 1); err != nil {
					t.Fatal(err)
				}
				m.stopWrite(m.socket.Release, func() { during(m, message, outcome) })
				switch err := <-outcome; name {
				case "the session ends":
					m.socket.Reset()
					synctest.Wait()
					if all := m.outbox.Unconfirmed(); err != ErrBroken || len(all) != 1 || string(all[0].Data) != text {
						t.Errorf("%v; %d are unconfirmed", err, len(all))
					}
				default:
					if from, resumed := m.resume(1); err != ErrLeft || from != 1 || resumed != nil {
						t.Error(err, from, resumed)
					}
					m.saw(text)
				}
			})
		})
	}
}

// What was under way when the session ended, and comes to nothing, has its place before what had not begun.
func TestUnconfirmedInOrder(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.outbox.Detach(m.socket)
		for _, text := range []string{"2", "3"} {
			if err := m.text(text); err != ErrBuffered {
				t.Fatal(err)
			}
		}
		m.newPath(0)
		s := m.newSocket()
		m.outbox.prepare(s)
		if _, err := m.outbox.Resume(s, 1); err != nil {
			t.Fatal(err)
		}
		s.Release()
		synctest.Wait()
		s.Close(1000, "")
		m.path.cut()
		synctest.Wait()
		if all := m.outbox.Unconfirmed(); len(all) != 2 || string(all[0].Data) != "2" || string(all[1].Data) != "3" {
			t.Errorf("%v", all)
		}
	})
}

// withRawSession is withSession for what can only happen where writes do not wait.
func withRawSession(t *testing.T, test func(t *testing.T, m *model)) {
	withSession(t, func(t *testing.T, m *model) {
		if m.raw {
			test(t, m)
		}
	})
}

// The client is asked to confirm what it has, with one ping for many messages.
func TestConfirmingPings(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.outbox.spoken.max = 256 << 10
		for size, most := range map[int]uint64{100: 12, 2000: 40} {
			before, _ := m.counts()
			for range 1000 {
				if err := m.text(strings.Repeat("x", size)); err != nil && err != errWaits {
					t.Fatal(err)
				}
				m.drain()
				m.answer()
			}
			if after, _ := m.counts(); after == before || after-before > most {
				n := after - before
				t.Errorf("%d pings for 1000 messages of %d bytes", n, size)
			}
		}
		for _, kept := m.counts(); kept > 0; _, kept = m.counts() { // 5 s after the last
			testutil.Pass(ConfirmAfter)
			m.drain()
			m.answer()
		}
		before, _ := m.counts()
		testutil.Pass(time.Hour)
		synctest.Wait()
		if after, _ := m.counts(); after != before {
			t.Errorf("%d pings in an hour of silence", after-before)
		}
	})
}

// Whoever pushes while the client is away hears so at once, or waits, as it wants.
func TestAway(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.outbox.Detach(m.socket)
		if !m.isSuspended() {
			t.Fatal("not suspended")
		}
		outcomes := make(map[string]error)
		start := func(name string, prepare func(*Message)) *Message {
			msg := NewMessage(false, []byte(name), func(err error) { outcomes[name] = err })
			prepare(msg)
			if pending, err := m.outbox.Start(msg); !pending {
				outcomes[name] = err
			}
			return msg
		}
		start("plain", func(*Message) {})
		start("refused", func(msg *Message) { msg.IfAway(false) })
		waits := start("waits", func(msg *Message) { msg.IfAway(true) })
		start("confirmed", (*Message).Confirm)
		if got := fmt.Sprint(outcomes); got != fmt.Sprint(map[string]error{"plain": ErrBuffered, "refused": ErrSuspended}) {
			t.Error(got)
		}
		if n, size := m.outbox.Buffered(); n != 3 || size != len("plainwaitsconfirmed") {
			t.Errorf("%d messages of %d bytes are buffered", n, size)
		}
		if err, _ := m.outbox.Abandon(waits, context.Canceled); err != context.Canceled {
			t.Error(err)
		}
		if from, err := m.resume(1); from != 1 || err != nil {
			t.Error(from, err)
		}
		m.saw("plain", "confirmed")
		for range 2 { // the ping behind the hello, and the one behind the message
			m.answer()
			m.drain()
		}
		if err, ok := outcomes["confirmed"]; !ok || err != nil {
			t.Errorf("confirmed: %v, %t", err, ok)
		}
	})
}

// A message to many sessions that all have confirmed is only retained, with its bytes. It counts again as soon as one of them sends it again, or it
// A text that begins like control arrives as it was pushed, whatever its length does to the header; a probe is answered before what waits,
// once however many there are.
func TestControl(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.outbox.spoken.max = 1 << 20
		var want []string
		for _, n := range []int{0, 1, 123, 124, 125, 126, 127, 65533, 65534, 65535, 65536} {
			text := "\x06" + strings.Repeat("p", n)
			if err := m.text(text); err != nil && err != errWaits {
				t.Fatal(err)
			}
			want = append(want, text)
			m.drain()
		}
		m.saw(append([]string{"greeting"}, want...)...)
		m.outbox.Detach(m.socket)
		if _, err := m.resume(1); err != nil {
			t.Fatal(err)
		}
		m.saw(want...)
	})
	withSession(t, func(t *testing.T, m *model) {
		m.path.room = 1
		for i := range 3 {
			_ = m.text(strconv.Itoa(i) + strings.Repeat("x", 100))
		}
		for range 10 {
			m.socket.AnswerProbe()
		}
		var read []byte
		for synctest.Wait(); m.path.waiting(); synctest.Wait() {
			read = append(read, m.path.read(1)...)
		}
		if at := strings.Index(string(read), v1.Probe); strings.Count(string(read), v1.Probe) != 1 || at > strings.Index(string(read), "1xxx") {
			t.Errorf("%q", read)
		}
		m.socket.AnswerProbe()
		m.drain()
	})
}

// A client may have a message of which the worker does not know that it is out: its offset says so. And it may not.
func TestLateReport(t *testing.T) {
	for name, has := range map[string]bool{"it has the message": true, "it has not": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, 1)
				m.path.room = 1 << 20
				m.drain()
				m.answer()
				late := make(chan struct{})
				m.socket.conn = lateConn{m.path, late}
				outcome := make(chan error, 1)
				msg := NewMessage(false, []byte("2"), func(err error) { outcome <- err })
				msg.Confirm()
				if pending, err := m.outbox.Start(msg); !pending {
					t.Fatal(err)
				}
				behind := make(chan error, 1)
				if pending, err := m.outbox.Start(NewMessage(false, []byte("3"), func(err error) { behind <- err })); !pending {
					t.Fatal(err)
				}
				synctest.Wait()
				offset, want := uint64(1), []string{"2", "3"}
				if has {
					offset, want = 2, want[1:]
				}
				if from, err := m.resume(offset); from != offset || err != nil {
					t.Error(from, err)
				}
				m.saw(want...)
				if err := <-behind; err != nil {
					t.Errorf("a take-over has ended the wait: %v", err)
				}
				m.answer()
				m.drain()
				m.answer()
				if err := <-outcome; err != nil {
					t.Error(err)
				}
				close(late)
				synctest.Wait()
				if m.outbox.spoken.begun != 3 || m.outbox.spoken.confirmed+uint64(len(m.outbox.spoken.kept)) != 3 {
					t.Errorf("%d have begun, %d are confirmed, %d kept", m.outbox.spoken.begun, m.outbox.spoken.confirmed, len(m.outbox.spoken.kept))
				}
				for _, p := range m.paths {
					p.cut()
				}
				synctest.Wait()
			})
		})
	}
}

// lateConn takes what is written, and says so late.
type lateConn struct {
	*path
	late chan struct{}
}

func (c lateConn) Write(p []byte) (int, error) {
	n, err := c.path.Write(p)
	<-c.late
	return n, err
}

// What was not taken at all has not begun: it can be withdrawn, and the count has no hole.
func TestWithheldHasNoNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel(t, 2)
		m.path.room = 1 << 20
		m.drain()
		m.answer()
		m.path.room = 0
		first := NewMessage(false, []byte("2"), func(error) {})
		if pending, err := m.outbox.Start(first); !pending {
			t.Fatal(err)
		}
		if err := m.text("3"); err != errWaits {
			t.Fatal(err)
		}
		if m.outbox.spoken.begun != 1 {
			t.Errorf("%d have begun", m.outbox.spoken.begun)
		}
		if err, decided := m.outbox.Abandon(first, context.Canceled); err != context.Canceled || !decided {
			t.Error(err, decided)
		}
		m.path.mu.Lock()
		m.path.room = 1 << 20
		m.path.signalLocked()
		m.path.mu.Unlock()
		m.drain()
		m.saw("greeting", "3")
		if m.outbox.spoken.begun != 2 {
			t.Errorf("%d have begun", m.outbox.spoken.begun)
		}
		m.path.cut()
		m.socket.Reset()
		synctest.Wait()
	})
}

// A client may come back by another WebSocket, or be away, while a message is compressed for the one before. It is sent what the WebSocket takes that
// it has then.
func TestCompressedForAnother(t *testing.T) {
	text := strings.Repeat("x", 2000)
	for name, change := range map[string]func(m *model){
		"replaced": func(m *model) { m.resume(0) },
		"away":     func(m *model) { m.outbox.Detach(m.socket) },
	} {
		t.Run(name, func(t *testing.T) {
			withSession(t, func(t *testing.T, m *model) {
				m.socket.compress = true
				p := m.shared.NewPayload(false, []byte(text))
				for _, shared := range []bool{false, true} {
					message := NewMessage(false, []byte(text), nil)
					if shared {
						message.PrepareShared(p, func(error) {})
					}
					m.outbox.mu.Lock()
					if !m.outbox.wantsCompressionLocked(message, 0) {
						t.Fatal("it is not to be compressed")
					}
					m.outbox.mu.Unlock()
					message.compress(m.shared)
					change(m)
					if _, err := m.outbox.Start(message); err != nil && err != ErrBuffered {
						t.Fatal(err)
					}
					if m.isSuspended() {
						m.resume(0)
					}
					m.drain()
					if got := m.seen[len(m.seen)-1]; got != text {
						t.Fatalf("the page has seen %.20q", got)
					}
					m.socket.compress = true
				}
			})
		})
	}
}

// What a message counts for all clients is the same when it comes and when it goes: for a session, that of its plain form.
func TestCompressedCountsAsPlain(t *testing.T) {
	withSession(t, func(t *testing.T, m *model) {
		m.socket.compress = true
		m.path.room = 0 // so that it waits
		text := make([]byte, 0, 40_000)
		for i := 0; len(text) < 40_000; i++ {
			text = strconv.AppendInt(text, int64(i)*7919, 36) // which becomes shorter, but not much
		}
		message := NewMessage(false, text, func(error) {})
		if pending, err := m.outbox.Start(message); !pending {
			t.Fatal(err)
		}
		want := int64(len(text) + messageOverhead)
		if got := m.shared.Pending(); got != want {
			t.Errorf("%d bytes count while it waits, want %d", got, want)
		}
		m.outbox.Detach(m.socket)
		m.outbox.End()
		m.outbox.Forget()
		if got := m.shared.Pending(); got != 0 {
			t.Errorf("%d bytes count in the end", got)
		}
	})
}
