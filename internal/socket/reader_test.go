package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// read is what Read returned.
type read struct {
	data string
	err  error
}

// lived is a Socket over a net.Pipe in a bubble, with a goroutine that reads it as package wspush does.
type lived struct {
	*Socket
	client net.Conn // its writes return when everything has been read
	reads  chan read
}

func live(t *testing.T, sh *Shared) *lived {
	client, server := net.Pipe()
	l := &lived{client: client, reads: make(chan read, 100), Socket: opened(sh, &Socket{
		conn: server, readLimit: 1 << 20, writeTimeout: time.Minute, traffic: new(stripe), owner: owner(func(error) {}),
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			l.Await()
			if l.TakePings(); l.Idle() {
				continue
			}
			_, data, err := l.Read(true)
			l.reads <- read{string(data), err}
			if err != nil {
				l.Cut()
				l.Finish()
				return
			}
		}
	}()
	go io.Copy(io.Discard, client) // what the server says
	t.Cleanup(func() {
		client.Close()
		<-done
	})
	return l
}

// says has the client send raw, and waits until the server has done all it does about it.
func (l *lived) says(t *testing.T, raw []byte) {
	t.Helper()
	if _, err := l.client.Write(raw); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// got returns what has been read since the last call.
func (l *lived) got() (all []string) {
	for len(l.reads) > 0 {
		r := <-l.reads
		if r.err != nil {
			r.data = "error: " + r.err.Error()
		}
		all = append(all, r.data)
	}
	return all
}

func masked(op testutil.Opcode, payload string) []byte {
	return testutil.AppendFrame(nil, testutil.Frame{Fin: true, Op: op, Masked: true, Payload: []byte(payload)}, [4]byte{7, 6, 5, 4})
}

// A socket whose client is silent holds no buffer, whatever the client has sent before.
func TestSilentSocketHasNothing(t *testing.T) {
	const text, ping, pong = testutil.Text, testutil.Ping, testutil.Pong
	long := strings.Repeat("x", 40_000)
	tests := map[string]struct {
		says [][]byte
		want []string
	}{
		"nothing yet":                       {nil, nil},
		"a message":                         {[][]byte{masked(text, "hello")}, []string{"hello"}},
		"a long message":                    {[][]byte{masked(text, long)}, []string{long}},
		"a message in two parts":            {[][]byte{masked(text, "hello")[:8], masked(text, "hello")[8:]}, []string{"hello"}},
		"three messages at once":            {[][]byte{slices.Concat(masked(text, "1"), masked(text, "2"), masked(text, "3"))}, []string{"1", "2", "3"}},
		"a pong":                            {[][]byte{masked(pong, "1")}, nil},
		"three pongs at once":               {[][]byte{slices.Concat(masked(pong, "1"), masked(pong, ""), masked(pong, "?"))}, nil},
		"a message, and a pong":             {[][]byte{slices.Concat(masked(text, "hello"), masked(pong, "1"))}, []string{"hello"}},
		"a pong, and a message":             {[][]byte{slices.Concat(masked(pong, "1"), masked(text, "hello"))}, []string{"hello"}},
		"a pong in two parts":               {[][]byte{masked(pong, "1")[:3], masked(pong, "1")[3:]}, nil},
		"the longest pong":                  {[][]byte{masked(pong, long[:125])}, nil},
		"a ping":                            {[][]byte{masked(ping, "1")}, nil},
		"a ping, and a pong":                {[][]byte{slices.Concat(masked(ping, "1"), masked(pong, "1"))}, nil},
		"a message, and a ping behind it":   {[][]byte{slices.Concat(masked(text, "hello"), masked(ping, "1"))}, []string{"hello"}},
		"a message, and a ping later":       {[][]byte{masked(text, "hello"), masked(ping, "1")}, []string{"hello"}},
		"a ping, and a message that begins": {[][]byte{slices.Concat(masked(ping, "1"), masked(text, "hello")[:3]), masked(text, "hello")[3:]}, []string{"hello"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sh := new(Shared)
				l := live(t, sh)
				synctest.Wait()
				for _, raw := range tt.says {
					l.says(t, raw)
				}
				if got := l.got(); !slices.Equal(got, tt.want) {
					t.Errorf("read %.200q, want %.200q", got, tt.want)
				}
				if l.in.buffer != nil || len(l.in.ahead) > 0 {
					t.Errorf("has a buffer: %t; %d bytes are ahead", l.in.buffer != nil, len(l.in.ahead))
				}
			})
		})
	}
}

// asked is an owner that counts answers.
type asked struct{ answers int }

func (a *asked) Failed(error) {}
func (a *asked) Answered()    { a.answers++ }
func (a *asked) Greeted()     {}

// readPongs removes complete and valid pongs from the head of what has come in, and leaves everything else as it is.
func TestReadPongs(t *testing.T) {
	const pong, text = testutil.Pong, testutil.Text
	one := masked(pong, "1") // the answer to the ping that is open
	with := func(raw []byte, at int, bits byte) []byte {
		raw = bytes.Clone(raw)
		raw[at] ^= bits
		return raw
	}
	tests := map[string]struct {
		ahead   []byte
		left    int // bytes
		answers int
	}{
		"nothing":                  {nil, 0, 0},
		"the answer":               {one, 0, 1},
		"the answer twice":         {slices.Concat(one, one), 0, 1},
		"another number":           {masked(pong, "2"), 0, 0},
		"a longer number":          {masked(pong, "10"), 0, 0},
		"the same with a zero":     {masked(pong, "01"), 0, 0},
		"no number":                {masked(pong, ""), 0, 0},
		"the last of several":      {slices.Concat(masked(pong, "0"), masked(pong, ""), one), 0, 1},
		"as much as there is room": {masked(pong, strings.Repeat("x", firstSize-6)), 0, 0},
		"behind a message":         {slices.Concat(masked(text, "hello"), one), 18, 0},
		"before a message":         {slices.Concat(one, masked(text, "hello")), 11, 1},
		"before part of a header":  {slices.Concat(one, masked(text, "hello")[:1]), 1, 1},
		"before part of a pong":    {slices.Concat(one, one[:6]), 6, 1},
		"cut in its header":        {one[:5], 5, 0},
		"cut in its payload":       {one[:6], 6, 0},
		"not final":                {with(one, 0, finBit), 7, 0},
		"RSV1":                     {with(one, 0, 0x40), 7, 0},
		"RSV2":                     {with(one, 0, 0x20), 7, 0},
		"RSV3":                     {with(one, 0, 0x10), 7, 0},
		"unmasked":                 {with(one, 1, maskBit), 7, 0},
		"a ping":                   {masked(testutil.Ping, "1"), 7, 0},
		"too long":                 {masked(pong, strings.Repeat("x", 126))[:firstSize], firstSize, 0},
		"much too long":            {masked(pong, strings.Repeat("x", 1<<16))[:firstSize], firstSize, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a := new(asked)
			s := newSocket(nil)
			s.owner, s.pings, s.pinged, s.timerPingOut = a, 1, 1, true
			copy(s.in.first[:], tt.ahead)
			s.in.ahead = s.in.first[:len(tt.ahead)]
			s.readPongs()
			left := s.in.ahead
			if len(left) != tt.left || a.answers != tt.answers {
				t.Errorf("%d bytes are left, want %d; %d answers, want %d", len(left), tt.left, a.answers, tt.answers)
			}
			if !bytes.HasSuffix(tt.ahead, left) {
				t.Errorf("left %q of %q", left, tt.ahead)
			}
		})
	}
}

// Each ping takes half a second to arrive, and its end comes together with the beginning of the next. None is late.
func TestPingsBackToBack(t *testing.T) {
	for _, op := range []testutil.Opcode{testutil.Ping, testutil.Pong} {
		t.Run(op.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := live(t, new(Shared))
				ping := masked(op, "0123456789")
				l.says(t, ping[:8])
				for i := range 20 {
					<-time.After(500 * time.Millisecond)
					if _, err := l.client.Write(append(append([]byte{}, ping[8:]...), ping[:8]...)); err != nil {
						t.Fatalf("after %v: %v; read: %q", time.Duration(i+1)*500*time.Millisecond, err, l.got())
					}
					synctest.Wait()
					if got := l.got(); len(got) > 0 {
						t.Fatalf("after %v: %q", time.Duration(i+1)*500*time.Millisecond, got)
					}
				}
			})
		})
	}
}

// The deadline for a control frame ends with the frame: the silence after it may be long.
func TestSilenceAfterSlowPing(t *testing.T) {
	for _, op := range []testutil.Opcode{testutil.Ping, testutil.Pong} {
		t.Run(op.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := live(t, new(Shared))
				slow := masked(op, "0123456789")
				for _, raw := range [][]byte{slow[:8], slow[8:], masked(testutil.Text, "hello")} {
					l.says(t, raw)
					testutil.Pass(4 * time.Second)
				}
				testutil.Pass(time.Minute)
				l.says(t, masked(testutil.Text, "again"))
				if got, want := l.got(), []string{"hello", "again"}; !slices.Equal(got, want) {
					t.Errorf("read %q, want %q", got, want)
				}
			})
		})
	}
}

// A client that announces a long message, and sends none of it, costs no more memory than one that sends a short one.
func TestAnnouncedLengthCostsNothing(t *testing.T) {
	const length = 64 << 20
	announce := []byte{0x82, 0xff, 0, 0, 0, 0, length >> 24, 0, 0, 0, 1, 2, 3, 4, 'x'}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if messages, err := hear(new(Shared), [][]byte{announce}, 2*length, false, true); err != io.EOF || len(messages) > 0 {
		t.Errorf("read %d messages, and then: %v", len(messages), err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

// A mask is removed in the same way however the payload is cut into pieces.
func TestUnmask(t *testing.T) {
	const mask = 0x44332211
	want := bytes.Repeat([]byte{0x11, 0x22, 0x33, 0x44}, 10)
	for i := range want {
		for j := range want[i:] {
			got := make([]byte, len(want))
			rest := unmask(got[:i], mask)
			rest = unmask(got[i:i+j], rest)
			unmask(got[i+j:], rest)
			if !bytes.Equal(got, want) {
				t.Fatalf("in pieces of %d, %d and %d bytes: %x", i, j, len(want)-i-j, got)
			}
		}
	}
}

// Only the codes that a client may send are accepted from it.
func TestCloseCodes(t *testing.T) {
	for code := range 1 << 16 {
		payload := []byte{byte(code >> 8), byte(code)}
		want := testutil.Judge(masked(testutil.Close, string(payload)), 200, false)
		var broken *Violation
		if err := closedBy(payload); errors.As(err, &broken) != (want.Code != 0) {
			t.Errorf("code %d: %v, want %+v", code, err, want)
		}
	}
}
