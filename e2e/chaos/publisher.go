package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// publisher pushes one message after another, and records each answer.
type publisher struct {
	*site
	book     *Book
	random   *rand.Rand
	forwards bool // every second push goes through a worker that does not hold the connection
}

func (s *site) publisher() *publisher {
	return &publisher{site: s, book: s.books.publisher(), random: s.random()}
}

// via returns the worker to ask.
func (p *publisher) via(t *target) int {
	if !p.forwards || p.random.IntN(2) == 0 {
		return t.worker
	}
	return (t.worker + 1 + p.random.IntN(len(p.slots)-1)) % len(p.slots)
}

const (
	maxPause    = 60 * time.Millisecond // between two messages
	maxBurst    = 8                     // messages to one connection before the next
	hangTimeout = 15 * time.Second      // after which a publisher gives up waiting for an answer
)

// timeouts are those that publishers ask for.
var timeouts = []time.Duration{
	200 * time.Millisecond, 500 * time.Millisecond, time.Second, time.Second, 2 * time.Second, 4 * time.Second,
}

// work pushes until ctx ends.
func (p *publisher) work(ctx context.Context) {
	for ctx.Err() == nil {
		t := p.addresses.pick(p.random)
		if t == nil {
			sleep(ctx, maxPause)
			continue
		}
		for range 1 + p.random.IntN(maxBurst) {
			push := p.push(t, p.some())
			if push.NotSent { // to a worker that is down, and it takes no time to find out
				sleep(ctx, maxPause)
			}
			if push.Status != http.StatusNoContent || ctx.Err() != nil {
				break
			}
			sleep(ctx, time.Duration(p.random.Int64N(int64(maxPause))))
		}
		if p.random.IntN(300) == 0 {
			p.delete(t)
		}
	}
}

// kind says what a message should be like.
type kind struct {
	size    int
	binary  bool
	invalid bool // text that is not UTF-8
	confirm bool
	timeout time.Duration
}

// some returns a usual kind.
func (p *publisher) some() kind {
	k := kind{size: 100 + p.random.IntN(400), confirm: p.random.IntN(10) > 0, timeout: timeouts[p.random.IntN(len(timeouts))]}
	k.binary = p.random.IntN(4) == 0
	switch n := p.random.IntN(400); {
	case n == 0:
		k.size = maxPushBytes + 1 + p.random.IntN(1000)
	case n == 1:
		k.binary, k.invalid = false, true
	case n < 8:
		k.size = 32<<10 + p.random.IntN(64<<10)
	case n < 40:
		k.size = 2<<10 + p.random.IntN(16<<10)
	}
	return k
}

// large returns a kind that uses up much of what may wait for one client.
func (p *publisher) large() kind {
	long := timeouts[2:]
	return kind{size: 64<<10 + p.random.IntN(64<<10), binary: p.random.IntN(2) == 0, timeout: long[p.random.IntN(len(long))]}
}

// push pushes one message. It never sends it again.
func (p *publisher) push(t *target, k kind) *Push {
	push := Push{
		Message: Message{
			To: t.ID, Publisher: p.book.Publisher, Seq: len(p.book.Pushes), Nonce: p.random.Uint64() | 1<<63,
			Size: k.size, Binary: k.binary,
		},
		Worker: t.worker, Via: p.via(t), Confirm: k.confirm, Timeout: k.timeout,
	}
	body := push.encode()
	if k.invalid {
		body[len(body)-1] = 0xff
	}
	query := url.Values{"timeout": {k.timeout.String()}}
	if k.binary {
		query.Set("type", "binary")
	}
	if k.confirm {
		query.Set("confirm", "received")
	}
	push.Start = p.since()
	p.post(&push, t, query, body)
	push.End = p.since()
	p.book.Pushes = append(p.book.Pushes, push)
	p.pushed.Add(1)
	return &push
}

func (p *publisher) post(push *Push, t *target, query url.Values, body []byte) {
	answer, problem, err := p.request(http.MethodPost, t, push.Via, query, body)
	if err != nil {
		push.NotSent = errors.Is(err, syscall.ECONNREFUSED) // while connecting: nothing else can be refused
		push.Fault = err.Error()
		return
	}
	push.Status = answer.StatusCode
	switch rtt := answer.Header.Get("Wspush-Rtt"); {
	case push.outcome() == Received:
		if push.RTT, err = strconv.ParseFloat(rtt, 64); err != nil || push.RTT <= 0 {
			push.Fault = fmt.Sprintf("Wspush-Rtt is %q", rtt)
		} else if took := p.since() - push.Start; push.RTT > float64(took+time.Millisecond)/float64(time.Millisecond) {
			push.Fault = fmt.Sprintf("Wspush-Rtt is %s ms, but the whole push took %v", rtt, took)
		}
	case rtt != "":
		push.Fault = fmt.Sprintf("Wspush-Rtt is %s ms, but nothing was confirmed", rtt)
	case push.Status == http.StatusGatewayTimeout:
		var said struct{ Type, Connection string }
		want := "urn:wspush:unknown"
		if push.Confirm {
			want = "urn:wspush:unconfirmed"
		}
		err := json.Unmarshal(problem, &said)
		isLost := push.isForwarded() && said.Connection == ""
		if err != nil || said.Type != want || said.Connection != "open" && said.Connection != "gone" && !isLost {
			push.Fault = fmt.Sprintf("the problem is %s", problem)
		}
		push.Connection = said.Connection
	}
}

// delete closes the connection.
func (p *publisher) delete(t *target) {
	answer, _, err := p.request(http.MethodDelete, t, p.via(t), url.Values{"code": {strconv.Itoa(4000 + p.random.IntN(3))}}, nil)
	if err == nil && answer.StatusCode == http.StatusNoContent {
		p.book.Deletes = append(p.book.Deletes, Delete{t.ID, p.since()})
	}
}

// request sends one request to a worker: to the one that holds the connection, using either form of the address.
func (p *publisher) request(method string, t *target, via int, query url.Values, body []byte) (*http.Response, []byte, error) {
	address := t.byUser
	switch {
	case via != t.worker:
		address = "http://" + p.slots[via].pushAddress() + "/ws/@connections/" + t.sealed
	case p.random.IntN(2) == 0:
		address = t.byPath
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, address+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	r.GetBody = nil // so that the client cannot send it again by itself
	answer, err := p.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	return answer, said, err
}
