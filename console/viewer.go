package console

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush"
)

// viewer is an open page. It is the Value of the page's connection.
type viewer struct {
	console *Console
	changed chan struct{} // holds an element when view has changed

	mu   sync.Mutex // guards view
	view view

	// What the page has been told; owned by the goroutine running tell.
	order   []uint64
	rows    map[uint64]state
	totals  []section
	samples int64   // time of the last one sent
	watched *entry  // nil for none
	watch   string  // its handle
	groups  *groups // those of watched; nil: it has not been told
}

// newSocket makes the Handler that pages connect to. They have no sessions: what a page has missed is worth nothing by the time that it is
// back, and what it shows is sent anew.
func newSocket(c *Console) (*wspush.Handler, error) {
	return wspush.NewHandler(c.own, &wspush.HandlerOptions{
		PingInterval:   25 * time.Second, // shorter than most proxies' timeouts
		IdleTimeout:    time.Minute,
		ReadLimit:      4 << 10,
		OriginPatterns: c.guard.hosts,
		Accept: func(*http.Request) (any, error) {
			return &viewer{console: c, changed: make(chan struct{}, 1)}, nil
		},
		Greeting: func(*wspush.Conn) (wspush.MessageType, []byte) {
			return wspush.Text, mustJSON(greeting{Console: c.name, ReadOnly: c.opts.ReadOnly, Labels: c.opts.Label != nil, Rows: maxRows})
		},
		OnConnect: func(conn *wspush.Conn) {
			v := conn.Value().(*viewer)
			c.feed.enter(func() { v.tell(conn) })
		},
		OnMessage: func(conn *wspush.Conn, _ wspush.MessageType, data []byte) { conn.Value().(*viewer).ask(conn, data) },
	})
}

// greeting is the first message to a page.
type greeting struct {
	Console  string `json:"console"` // the console's name: handles of another console are unknown to it
	ReadOnly bool   `json:"readOnly"`
	Labels   bool   `json:"labels"`
	Rows     int    `json:"rows"` // the most that are shown
}

// ask sets what the page wants to see from now on.
func (v *viewer) ask(conn *wspush.Conn, data []byte) {
	var asked view
	if json.Unmarshal(data, &asked) != nil || !asked.isValid() {
		_ = conn.Close(1008, "no page of this console asks that")
		return
	}
	v.mu.Lock()
	v.view = asked
	v.mu.Unlock()
	select {
	case v.changed <- struct{}{}:
	default:
	}
}

// tell pushes updates to the page until its connection ends. Each push waits until the page has read the one before, so a slow
// page skips the updates in between.
func (v *viewer) tell(conn *wspush.Conn) {
	v.rows = make(map[uint64]state)
	for {
		s, samples := v.console.feed.now()
		if !s.at.IsZero() {
			began := time.Now()
			v.mu.Lock()
			asked := v.view
			v.mu.Unlock()
			message := mustJSON(v.update(s, samples, asked))
			rest := time.After(pace(time.Since(began), interval/2))
			if push(conn, message) != nil {
				return
			}
			if s.isOver() {
				_ = conn.Close(1012, "the worker has shut down")
				return
			}
			select { // an operator's request does not wait
			case <-conn.Context().Done():
				return
			case <-v.changed:
				continue
			case <-rest:
			}
		}
		select {
		case <-conn.Context().Done():
			return
		case <-v.changed:
		case <-s.next:
		}
	}
}

// readTime bounds the wait for a page to read a message. The timers end a dead connection long before that.
const readTime = time.Hour

// push returns once the page has read the message.
func push(conn *wspush.Conn, message []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	_, err := conn.Push(ctx, wspush.Text, message, wspush.Confirmed())
	return err
}

// update is a message to a page: the changes since the previous one.
type update struct {
	Seq      uint64    `json:"seq"` // the view's
	Now      int64     `json:"now"` // milliseconds since 1970
	Draining bool      `json:"draining,omitempty"`
	Over     bool      `json:"over,omitempty"`
	Samples  []sample  `json:"samples"` // new ones; the last was taken at Now
	Totals   []section `json:"totals,omitempty"`

	// Connections.
	Total   int      `json:"total"`
	Matches int      `json:"matches"`
	Order   []uint64 `json:"order"`             // null if unchanged
	Rows    []row    `json:"rows,omitempty"`    // new and changed ones
	Watched *row     `json:"watched,omitempty"` // the details asked for; absent if it has ended
}

// update returns what the page does not know of s yet, and records it as known.
func (v *viewer) update(s *snapshot, samples []sample, asked view) update {
	u := update{
		Seq: asked.Seq, Now: s.at.UnixMilli(), Draining: s.isDraining, Over: s.isOver(), Total: len(s.entries),
		Samples: samples[v.firstNew(samples):],
	}
	v.samples = u.Now
	if t := totals(&s.stats); !reflect.DeepEqual(t, v.totals) {
		u.Totals, v.totals = t, t
	}

	first, matches := asked.pick(s.entries)
	u.Matches = matches
	order, rows := make([]uint64, len(first)), make(map[uint64]state, len(first))
	for i, c := range first {
		order[i], rows[c.number] = c.number, c.state
		switch known, ok := v.rows[c.number]; {
		case !ok:
			u.Rows = append(u.Rows, row{Number: c.number, identity: c.identity(v.console.handles), state: c.state})
		case known != c.state:
			u.Rows = append(u.Rows, row{Number: c.number, state: c.state})
		}
	}
	v.rows = rows
	if v.order == nil || !slices.Equal(order, v.order) {
		u.Order, v.order = order, order
	}
	u.Watched = v.details(asked.Watch)
	return u
}

// firstNew returns the index of the first sample that the page does not have.
func (v *viewer) firstNew(samples []sample) int {
	for i := len(samples); i > 0; i-- {
		if samples[i-1].At <= v.samples {
			return i
		}
	}
	return 0
}

// details returns the full row of the connection with this handle, or nil if it has ended.
func (v *viewer) details(handle string) *row {
	if handle == "" {
		v.watched = nil
		return nil
	}
	conn, ok := v.console.worker.Conn(v.console.handles.id(handle))
	if !ok {
		return nil
	}
	if v.watched == nil || v.watch != handle {
		v.watched, v.watch, v.groups = newEntry(conn, 0, v.console.labelOf), handle, nil
	}
	details := v.watched.details()
	if reflect.DeepEqual(details.Groups, v.groups) {
		details.Groups = nil
	} else {
		v.groups = details.Groups
	}
	return &row{identity: v.watched.identity(v.console.handles), details: details, state: v.watched.state()}
}

// mustJSON encodes values that cannot fail to encode.
func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
