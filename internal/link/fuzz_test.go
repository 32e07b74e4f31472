package link

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"testing"
)

// newTaking returns an accepted link that nobody reads or writes.
func newTaking(l *Links) *taking {
	client, server := net.Pipe()
	client.Close()
	t := &taking{
		links: l, ch: &channel{carrier: &carrier{Conn: server}}, wake: make(chan struct{}, 1), over: make(chan struct{}), read: make(chan struct{}),
		large: bodies{credit: window}, writing: true, // as far as the link knows, somebody is writing already
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// FuzzTaking: whatever frames a worker sends, the other one neither crashes nor holds more than it may, and every push that the
// handler gets is one that the frames make.
func FuzzTaking(f *testing.F) {
	p := &Push{Peer: Peer{Instance: 3}, ID: [16]byte{1}, More: [][16]byte{{2}, {3}}, Path: "/ws", Data: []byte("data")}
	f.Add(p.append(nil, 1))
	f.Add((&Push{To: "g:all", Detail: true, More: [][16]byte{{2}}, Data: []byte("data")}).append(nil, 1))
	f.Add((&Push{flight: flight{request: &Request{Method: "GET", Path: "/ws", Query: "a=b"}}}).append(nil, 1))
	large := append(appendHead(nil, kindBegin, 1, p.metaLen()+3), appendSize(p.appendMeta(nil), 20_000)...)
	large = append(appendHead(large, kindPiece, 1, 16_000), make([]byte, 16_000)...)
	f.Add(appendHead(bytes.Clone(large), kindCancel, 1, 0))
	f.Add(append(appendHead(large, kindPiece, 1, 4_000), make([]byte, 4_000)...))
	f.Add(append(appendHead(appendHead(p.append(nil, 1), kindPing, 0, 0), kindBye, 1, 1), byeGoing))
	f.Add(appendHead(nil, kindCredit, 1, 0))
	f.Fuzz(func(t *testing.T, frames []byte) {
		l := newLinks(Config{MaxBody: 1 << 20, TooLarge: 9, Handler: checks{t}}, defaultBounds())
		link := newTaking(l)
		for range 3 {
			if err := link.takeBatch(bytes.Clone(frames)); err != nil {
				break
			}
		}
		held := 0
		for _, p := range link.partials.all {
			held += cap(p.data)
		}
		if held > 4*len(frames)+len(link.partials.all)<<20 || link.partials.held > maxHeld+1<<20 {
			t.Errorf("%d bytes are held", held)
		}
		link.lose(errClosing)
		link.ended()
		l.running.Wait()
	})
}

// checks is a handler that answers every push, and some twice.
type checks struct{ t *testing.T }

func (c checks) Push(batch []*Incoming) {
	for _, in := range batch {
		if len(in.More) > maxMore || len(in.Path) > maxPath || len(in.To) > maxPath || len(in.Data) > 1<<20 || in.Timeout < 0 {
			c.t.Errorf("%+v", in)
		}
		in.Cancel = func() {}
		for target := range 1 + len(in.More) {
			in.Answer(target, Answer{})
			in.Answer(target, Answer{})
		}
		in.Reply(&Reply{Status: 200}) // once more
	}
}

func (c checks) Ask(context.Context, *Request) *Reply { return &Reply{Status: 204} }

// FuzzAsking: whatever frames come back, an asker does not crash, no question has more than one outcome, and none that was not
// answered has one without an error.
func FuzzAsking(f *testing.F) {
	f.Add(appendAnswer(appendAnswer(nil, 1, 0, Answer{}), 1, 2, Answer{Code: 1}))
	reply := (&Reply{Status: 200, Header: http.Header{"A": {"b"}}}).appendHead(nil)
	f.Add(append(appendHead(nil, kindReply, 2, len(reply)), reply...))
	reply = appendSize(reply, 20_000)
	large := append(appendHead(nil, kindBegin, 2, len(reply)), reply...)
	f.Add(append(appendHead(large, kindPiece, 2, 20_000), make([]byte, 20_000)...))
	large = append(appendHead(nil, kindBegin, 3, len(reply)), reply...)
	f.Add(append(appendHead(large, kindPiece, 3, 20_000), make([]byte, 20_000)...))
	f.Add(append(appendHead(nil, kindBye, 1, 1), byeGoing))
	f.Add(append(appendHead(nil, kindBye, 0, 1), byeFull))
	f.Add(appendHead(appendHead(nil, kindPong, 0, 0), kindCredit, 1000, 0))
	f.Fuzz(func(t *testing.T, frames []byte) {
		l := newLinks(Config{Keys: newKeys(t), Address: "http://a", Handler: checks{t}}, defaultBounds())
		l.cancel() // nothing is dialled
		o := l.to("http://127.0.0.1:1")
		client, server := net.Pipe()
		client.Close()
		k := newAsking(o, &channel{carrier: &carrier{Conn: server}})
		o.link, o.asking[k] = k, struct{}{}
		var told [3]int
		p := &Push{Peer: Peer{Address: o.address}, More: make([][16]byte, 2), Done: func(target int, _ Answer, _ error) { told[target]++ }}
		big := &Push{Peer: Peer{Address: o.address}, Data: make([]byte, 200_000), Sequence: new(Sequence), Done: func(int, Answer, error) { told[0] += 0 }}
		replied, toMembers := 0, 0
		m := &Push{Peer: Peer{Address: o.address}, To: "u:a", Done: func(int, Answer, error) { toMembers++ }, Replied: func(*Reply) { toMembers++ }}
		q := &Push{Peer: p.Peer, flight: flight{request: new(Request), replied: func(*Reply, error) { replied++ }}}
		k.writing = true // nobody writes
		l.Push(p)
		l.ask(q)
		l.Push(m)
		l.Push(big)
		o.mu.Lock()
		k.assembleLocked(nil, maxFrames)
		k.writing = false
		o.mu.Unlock()
		for range 3 {
			over, err := k.hear(bytes.Clone(frames), nil)
			tellAll(over)
			if err != nil {
				break
			}
		}
		k.lose(errClosing)
		o.end(errClosing)
		l.running.Wait()
		if told != [3]int{1, 1, 1} || replied != 1 || toMembers != 1 {
			t.Errorf("the targets have %v outcomes, the request %d, the push to members %d", told, replied, toMembers)
		}
		if s := l.Stats(); s != (Stats{}) {
			t.Errorf("%+v is left", s)
		}
	})
}

// FuzzBatch: a batch opens only as it was sealed, and only in its turn.
func FuzzBatch(f *testing.F) {
	keys := newKeys(f)
	cipher := func(tb testing.TB) counted {
		aead, err := keys.First().Derive([]byte("salt"), "use")
		if err != nil {
			tb.Fatal(err)
		}
		return counted{aead: aead}
	}
	out := cipher(f)
	first := out.seal([]byte("first"))
	second := out.seal([]byte("second"))
	f.Add(bytes.Clone(first))
	f.Add(bytes.Clone(second))
	f.Add(first[:len(first)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		in := cipher(t)
		given := bytes.Clone(sealed)
		frames, err := in.open(sealed)
		if genuine := bytes.Equal(given, first); genuine != (err == nil) || genuine && string(frames) != "first" {
			t.Errorf("%x opens as %q, %v", given, frames, err)
		}
	})
}
