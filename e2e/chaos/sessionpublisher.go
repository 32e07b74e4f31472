package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sessionPublisher pushes to sessions, one request after another, and records each answer.
type sessionPublisher struct {
	*site
	books  *sessionBooks
	book   *sessionBook
	random *rand.Rand
	groups int
	users  int
}

const (
	mostLines   = 8 // of a bulk request
	mostTargets = 4 // of one of its lines
	deleteOnce  = 1500
)

// The timeouts that publishers ask for, and how long their messages may wait for a client that is away.
var (
	sessionTimeouts = []time.Duration{
		50 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, time.Second, 2 * time.Second, 4 * time.Second,
	}
	keeps = []string{"", "", "", "", "", "", "", "0s", "500ms", "2s"}
)

// work pushes until ctx ends.
func (p *sessionPublisher) work(ctx context.Context) {
	for ctx.Err() == nil {
		var status int
		switch n := p.random.IntN(100); {
		case n < 55:
			status = p.burst(ctx)
		case n < 80:
			status = p.bulk()
		default:
			status = p.named()
		}
		if status == 0 {
			sleep(ctx, 10*time.Millisecond)
		}
		if p.random.IntN(deleteOnce) == 0 {
			p.delete()
		}
		sleep(ctx, time.Duration(p.random.Int64N(int64(maxPause))))
	}
}

// choose returns a process to ask.
func (p *sessionPublisher) choose() int {
	if p.fleet == nil {
		return 0
	}
	return p.fleet.forPublisher(p.random)
}

// through returns where a process takes pushes.
func (p *sessionPublisher) through(process int) string {
	if p.fleet == nil {
		return p.slots[0].pushAddress()
	}
	return p.fleet.place(process).pushAddress()
}

// begin begins a push.
func (p *sessionPublisher) begin(aim pushAim, to string) SessionPush {
	r := SessionPush{Aim: aim, Keep: keeps[p.random.IntN(len(keeps))]}
	r.Via = p.choose()
	r.Message = Message{
		To: to, Publisher: p.book.publisher, Seq: len(p.book.pushes), Nonce: p.random.Uint64() | 1<<63,
		Size: 100 + p.random.IntN(400), Binary: p.random.IntN(4) == 0,
	}
	r.Asked, r.Confirm, r.Timeout = pushed, p.random.IntN(10) < 4, sessionTimeouts[p.random.IntN(len(sessionTimeouts))]
	if p.fleet != nil {
		r.Timeout = min(r.Timeout, fleetTimeout)
	}
	switch n := p.random.IntN(200); {
	case n == 0:
		r.Size = 32<<10 + p.random.IntN(64<<10)
	case n < 20:
		r.Size = 1<<10 + p.random.IntN(8<<10)
	}
	return r
}

// end records what a push has come to.
func (p *sessionPublisher) end(r SessionPush) {
	p.book.pushes = append(p.book.pushes, r)
	p.pushed.Add(1)
}

// query returns what a push asks for.
func (p *SessionPush) query() url.Values {
	query := url.Values{"timeout": {p.Timeout.String()}}
	if p.Binary {
		query.Set("type", "binary")
	}
	if p.Confirm {
		query.Set("confirm", "received")
	}
	if p.Keep != "" {
		query.Set("keep", p.Keep)
	}
	return query
}

// burst pushes some messages to one session, and returns the last status.
func (p *sessionPublisher) burst(ctx context.Context) (status int) {
	to := p.books.pick(p.random)
	if to.id == "" {
		return 0
	}
	for range 1 + p.random.IntN(maxBurst) {
		r := p.begin(toOne, to.id)
		r.Target = to.target
		p.push(&r)
		if p.end(r); !r.outcomeOf(r.Status).isAccepted() || ctx.Err() != nil {
			return r.Status
		}
		status = r.Status
	}
	return status
}

// confirm pushes one message that is to be confirmed, and reports whether it was.
func (p *sessionPublisher) confirm(to addressee) bool {
	r := p.begin(toOne, to.id)
	r.Target = to.target
	r.Confirm, r.Keep, r.Timeout = true, "", 5*time.Second
	p.post(context.Background(), &r)
	p.end(r)
	return r.outcomeOf(r.Status) == Received
}

// fill pushes a large message.
func (p *sessionPublisher) fill(to addressee) (status int) {
	r := p.begin(toOne, to.id)
	r.Target = to.target
	r.Confirm, r.Size, r.Timeout = false, 48<<10+p.random.IntN(48<<10), 4*time.Second
	p.post(context.Background(), &r)
	p.end(r)
	return r.Status
}

// push makes one push of its own. Now and then it is given up before the answer.
func (p *sessionPublisher) push(r *SessionPush) {
	patience, cancel := p.patience(r.Timeout)
	defer cancel()
	_, r.GaveUp = patience.Deadline()
	p.post(patience, r)
}

// patience is how long a publisher waits for an answer: it does without one now and then.
func (p *sessionPublisher) patience(timeout time.Duration) (context.Context, context.CancelFunc) {
	if p.random.IntN(20) > 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithTimeout(context.Background(), time.Duration(p.random.Int64N(int64(timeout))))
}

func (p *sessionPublisher) post(ctx context.Context, r *SessionPush) {
	target := "http://" + r.Target + "@" + p.through(r.Via) + "/ws?"
	if p.random.IntN(2) == 0 {
		target = "http://" + p.through(r.Via) + "/ws/@connections/" + r.Target + "?"
	}
	r.Start = p.since()
	answer, said, err := p.request(ctx, http.MethodPost, target+r.query().Encode(), nil, r.encodeMarked())
	r.End = p.since()
	r.readOne(answer, said, err)
	r.Members = []Line{{r.To, r.Status}}
}

// readOne takes what the answer to a push to one session says.
func (p *SessionPush) readOne(answer *http.Response, said []byte, err error) {
	if err != nil {
		p.NotSent = errors.Is(err, syscall.ECONNREFUSED)
		p.Fault = err.Error()
		return
	}
	p.Status = answer.StatusCode
	p.readMoved(answer.Header)
	seconds, _ := strconv.Atoi(answer.Header.Get("Wspush-Buffered"))
	isBuffered := p.Status == http.StatusAccepted
	switch {
	case isBuffered != (answer.Header.Get("Wspush-Buffered") != ""), isBuffered && (seconds < 0 || seconds > int(resumeWindow/time.Second)):
		p.Fault = fmt.Sprintf("Wspush-Buffered is %q", answer.Header.Get("Wspush-Buffered"))
	case p.Status > 299:
		p.readProblem(said)
	}
}

// readMoved takes the address that a publisher is told of a session that has moved.
func (p *SessionPush) readMoved(h http.Header) {
	address := h.Get("Wspush-Address")
	if p.Moved = idOf(address); address != "" && p.Moved == "" {
		p.Fault = fmt.Sprintf("Wspush-Address is %q", address)
	}
}

// idOf returns the ID in an address; "" if there is none.
func idOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	if u.User != nil {
		return u.User.Username()
	}
	_, id, _ := strings.Cut(u.Path, "/@connections/")
	return id
}

func (p *SessionPush) readProblem(said []byte) {
	var problem struct{ Type string }
	if err := json.Unmarshal(said, &problem); err != nil || problem.Type == "" {
		p.Fault = fmt.Sprintf("the problem is %.200q", said)
	}
	p.Type = strings.TrimPrefix(problem.Type, "urn:wspush:")
}

// name returns the key of a user or a group.
func (p *sessionPublisher) name() string {
	if p.random.IntN(3) == 0 {
		return "u" + strconv.Itoa(p.random.IntN(p.users))
	}
	return "g" + strconv.Itoa(p.random.IntN(p.groups))
}

// named pushes to a user or a group.
func (p *sessionPublisher) named() (status int) {
	aim := toNamed
	if p.random.IntN(2) == 0 {
		aim = toListed
	}
	r := p.begin(aim, p.name())
	header := http.Header{}
	if aim == toListed {
		r.Asked = listed
		header.Set("Accept", "application/x-ndjson")
	}
	path := "/ws/@users/"
	if isGroup(r.To) {
		path = "/ws/@groups/"
	}
	r.Start = p.since()
	target := "http://" + p.through(r.Via) + path + r.To + "?" + r.query().Encode()
	answer, said, err := p.request(context.Background(), http.MethodPost, target, header, r.encodeMarked())
	r.End = p.since()
	r.read(answer, said, err)
	p.end(r)
	return r.Status
}

// bulk makes some pushes in one request: to one session each, to several, and to users and groups.
func (p *sessionPublisher) bulk() (status int) {
	pushes := make([]SessionPush, 1+p.random.IntN(mostLines))
	favourite := p.books.pick(p.random) // gets some of them, in order
	if favourite.id == "" {
		return 0
	}
	via := p.choose()
	targets := map[string]string{favourite.id: favourite.target} // lines to one address are in order
	pick := func() addressee {
		to := cmp.Or(p.books.pick(p.random), favourite)
		if target, known := targets[to.id]; known {
			to.target = target
		}
		targets[to.id] = to.target
		return to
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	var longest time.Duration
	for i := range pushes {
		line := map[string]any{}
		var r SessionPush
		switch n := p.random.IntN(10); {
		case n < 6:
			to := favourite
			if n < 2 {
				to = pick()
			}
			r = p.begin(toOne, to.id)
			r.Members, line["to"] = []Line{{ID: to.id}}, to.target
		case n < 8:
			var to []string
			var members []Line
			for range 1 + p.random.IntN(mostTargets) {
				one := pick()
				if !slices.ContainsFunc(members, func(l Line) bool { return l.ID == one.id }) {
					to, members = append(to, one.target), append(members, Line{ID: one.id})
				}
			}
			r = p.begin(toMany, "*")
			r.Members, line["to"] = members, to
		default:
			r = p.begin(toNamed, p.name())
			if line["user"] = r.To; isGroup(r.To) {
				delete(line, "user")
				line["group"] = r.To
			}
		}
		r.Seq += i
		r.Bulk, r.Asked, r.Via = true, bulked, via
		for name, values := range r.query() {
			if name != "type" {
				line[name] = values[0]
			}
		}
		if r.Binary {
			line["binary"] = r.encodeMarked()
		} else {
			line["text"] = string(r.encodeMarked())
		}
		_ = encoder.Encode(line)
		longest = max(longest, r.Timeout)
		pushes[i] = r
	}
	patience, cancel := p.patience(longest)
	defer cancel()
	_, gaveUp := patience.Deadline()
	start := p.since()
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	answer, said, err := p.request(patience, http.MethodPost, "http://"+p.through(via)+"/ws/@connections", header, body.Bytes())
	end := p.since()
	for i := range pushes {
		r := &pushes[i]
		r.Start, r.End, r.GaveUp = start, end, gaveUp
		switch {
		case answer == nil:
			r.NotSent, r.Fault = errors.Is(err, syscall.ECONNREFUSED), err.Error()
		case answer.StatusCode != http.StatusOK:
			r.Status = answer.StatusCode
			r.readProblem(said)
			r.setAll(r.Status)
		default:
			r.Fault = fmt.Sprintf("no answer to the line: %v", err)
		}
	}
	if answer != nil && answer.StatusCode == http.StatusOK {
		status = http.StatusOK
		for text := range bytes.Lines(said) {
			readLine(text, pushes)
		}
	}
	for i := range pushes {
		r := &pushes[i]
		r.Timeout = longest // all have been read together
		p.end(*r)
	}
	return status
}

// setAll is for an answer about all sessions.
func (p *SessionPush) setAll(status int) {
	for i := range p.Members {
		p.Members[i].Status = status
	}
}

// readLine takes what a line of a bulk answer says.
func readLine(text []byte, pushes []SessionPush) {
	var line struct {
		Line, Index, Status int
		Type                string
		BufferedFor         *int
	}
	if json.Unmarshal(text, &line) != nil || line.Line < 1 || line.Line > len(pushes) {
		return
	}
	r := &pushes[line.Line-1]
	r.Fault = ""
	switch {
	case r.isNamed():
		r.readWhole(line.Status, text)
		return
	case line.Index < 0 || line.Index >= len(r.Members) || line.Status == 0:
		r.Fault = fmt.Sprintf("a line that says %s", text)
		return
	case (line.Status == http.StatusAccepted) != (line.BufferedFor != nil):
		r.Fault = fmt.Sprintf("a line that says %s", text)
	}
	r.Members[line.Index].Status = line.Status
	r.Status, r.Type = line.Status, strings.TrimPrefix(line.Type, "urn:wspush:") // of several, the last
}

// delete ends a session.
func (p *sessionPublisher) delete() {
	to := p.books.pick(p.random)
	if to.id == "" {
		return
	}
	p.book.deletes = append(p.book.deletes, Delete{to.id, p.since()})
	query := url.Values{"code": {strconv.Itoa(4000 + p.random.IntN(3))}}
	target := "http://" + p.through(p.choose()) + "/ws/@connections/" + to.target + "?" + query.Encode()
	_, _, _ = p.request(context.Background(), http.MethodDelete, target, nil, nil)
}

// request sends one request. The answer is not nil if its header came.
func (p *sessionPublisher) request(ctx context.Context, method, target string, header http.Header, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, hangTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if r.GetBody = nil; header != nil { // so that the client cannot send it again by itself
		r.Header = header
	}
	answer, err := p.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	return answer, said, err
}
