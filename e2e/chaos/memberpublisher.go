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
	"strings"
	"syscall"
	"time"
)

// memberPublisher makes one request about a user or a group after another, and records each answer.
type memberPublisher struct {
	*site
	members *memberBooks
	book    *memberBook
	random  *rand.Rand
	users   int
	groups  int
	only    string // pushes to this user, and does nothing else; "" if it does
}

const (
	absent    = 20 // users who are never there
	rooms     = 12 // groups that connections join and leave
	wanderers = 4  // users who move all the time, each with a publisher that hardly pauses
)

// key returns a user or a group to ask about.
func (p *memberPublisher) key() string {
	switch n := p.random.IntN(100); {
	case n < 6:
		return "x" + strconv.Itoa(p.random.IntN(absent))
	case n < 22:
		return "g" + strconv.Itoa(1+p.random.IntN(p.groups-1))
	case n < 23:
		return everybody
	case n < 38:
		return "r" + strconv.Itoa(p.random.IntN(rooms))
	}
	return "u" + strconv.Itoa(p.random.IntN(p.users))
}

// everybody is a group with every client.
const everybody = "g0"

// work makes requests until ctx ends.
func (p *memberPublisher) work(ctx context.Context) {
	for ctx.Err() == nil && p.only != "" {
		r := p.begin(pushed, p.only)
		p.do(&r)
		if p.end(r); r.Status != http.StatusOK {
			sleep(ctx, time.Duration(p.random.Int64N(int64(maxPause))))
		}
	}
	for ctx.Err() == nil {
		var r *Request
		switch n := p.random.IntN(200); {
		case n < 24:
			r = p.ask(got)
		case n < 32:
			r = p.ask(headed)
		case n < 33:
			r = p.ask(deleted)
		case n < 50:
			p.bulk()
			sleep(ctx, time.Duration(p.random.Int64N(int64(maxPause))))
			continue
		case n < 130:
			r = p.ask(listed)
		default:
			r = p.ask(pushed)
		}
		if r.NotSent {
			sleep(ctx, maxPause)
		}
		sleep(ctx, time.Duration(p.random.Int64N(int64(maxPause))))
	}
}

// begin begins a request.
func (p *memberPublisher) begin(asked Asked, key string) Request {
	r := Request{
		Message: Message{
			To: key, Publisher: p.book.publisher, Seq: len(p.book.requests), Nonce: p.random.Uint64() | 1<<63,
			Size: 100 + p.random.IntN(400), Binary: p.random.IntN(4) == 0,
		},
		Asked: asked, Via: p.random.IntN(len(p.slots)), Confirm: p.random.IntN(10) < 7, Timeout: timeouts[p.random.IntN(len(timeouts))],
	}
	if p.random.IntN(30) == 0 {
		r.Size = 16<<10 + p.random.IntN(16<<10)
	}
	if r.isPush() && p.random.IntN(10) == 0 {
		r.Except = p.members.some(key, 1+p.random.IntN(2))
	}
	return r
}

// ask makes one request, about any user or group.
func (p *memberPublisher) ask(asked Asked) *Request {
	key := p.key()
	if asked == deleted {
		key = "u" + strconv.Itoa(p.random.IntN(p.users))
	}
	r := p.begin(asked, key)
	p.do(&r)
	return p.end(r)
}

// push pushes to a user, to be confirmed.
func (p *memberPublisher) push(key string) *Request {
	r := p.begin(pushed, key)
	r.Confirm, r.Timeout, r.Except = true, 5*time.Second, nil
	p.do(&r)
	return p.end(r)
}

// end records what a request has come to.
func (p *memberPublisher) end(r Request) *Request {
	p.book.requests = append(p.book.requests, r)
	p.pushed.Add(1)
	return &r
}

func (p *memberPublisher) do(r *Request) {
	query, method, body := url.Values{}, http.MethodPost, []byte(nil)
	switch r.Asked {
	case got:
		method = http.MethodGet
	case headed:
		method = http.MethodHead
	case deleted:
		method = http.MethodDelete
		query.Set("close", "all")
		query.Set("code", "4001")
	default:
		body = r.encode()
		query.Set("timeout", r.Timeout.String())
		if r.Binary {
			query.Set("type", "binary")
		}
		if r.Confirm {
			query.Set("confirm", "received")
		}
	}
	for _, id := range r.Except {
		query.Add("except", id)
	}
	path, name := "/ws/@users", nameOf(r.To)
	if isGroup(r.To) {
		path = "/ws/@groups"
	}
	if p.random.IntN(4) == 0 || name == ".." {
		query.Set("name", name)
	} else {
		path += "/" + url.PathEscape(name)
	}
	header := http.Header{}
	if r.Asked == listed {
		header.Set("Accept", "application/x-ndjson")
	}
	r.Start = p.since()
	answer, said, err := p.request(method, r.Via, path+"?"+query.Encode(), header, body)
	r.End = p.since()
	r.read(answer, said, err)
}

// read takes what an answer says.
func (r *Request) read(answer *http.Response, said []byte, err error) {
	if answer == nil {
		r.NotSent = errors.Is(err, syscall.ECONNREFUSED)
		r.Fault = err.Error()
		return
	}
	isList := answer.StatusCode == http.StatusOK && answer.Header.Get("Content-Type") == "application/x-ndjson"
	if !isList {
		if err != nil {
			r.Fault = err.Error()
			return
		}
		if r.Asked == headed {
			r.Status = answer.StatusCode
			return
		}
		r.readWhole(answer.StatusCode, said)
		return
	}
	for line := range bytes.Lines(said) {
		line = bytes.TrimSpace(line)
		var m struct {
			ID     string
			Status int
		}
		if len(line) == 0 {
			continue
		}
		if bad := json.Unmarshal(line, &m); bad != nil {
			r.Fault = fmt.Sprintf("a line that is cut off: %v", err)
			return
		}
		if m.ID != "" {
			r.Members = append(r.Members, Line{m.ID, m.Status})
			continue
		}
		r.readWhole(m.Status, line)
		return
	}
	r.Fault = fmt.Sprintf("no last line: %v", err)
}

// readWhole takes what is said of the whole.
func (r *Request) readWhole(status int, said []byte) {
	var whole struct {
		Type    string
		Members []Line
		Counts
	}
	if err := json.Unmarshal(said, &whole); err != nil {
		r.Fault = fmt.Sprintf("the answer is %.200q", said)
		return
	}
	r.Status, r.Type, r.Counts = status, strings.TrimPrefix(whole.Type, "urn:wspush:"), whole.Counts
	r.Counts.isCounted = whole.Workers > 0
	r.Members = append(r.Members, whole.Members...)
}

// bulk makes some pushes in one request.
func (p *memberPublisher) bulk() {
	requests := make([]Request, 1+p.random.IntN(6))
	via := p.random.IntN(len(p.slots))
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for i := range requests {
		r := p.begin(bulked, p.key())
		r.Seq += i
		r.Via = via
		line := map[string]any{"timeout": r.Timeout.String()}
		if isGroup(r.To) {
			line["group"] = nameOf(r.To)
		} else {
			line["user"] = nameOf(r.To)
		}
		if r.Binary {
			line["binary"] = r.encode()
		} else {
			line["text"] = string(r.encode())
		}
		if r.Confirm {
			line["confirm"] = "received"
		}
		if len(r.Except) > 0 {
			line["except"] = r.Except
		}
		_ = encoder.Encode(line)
		requests[i] = r
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	start := p.since()
	answer, said, err := p.request(http.MethodPost, via, "/ws/@connections", header, body.Bytes())
	end := p.since()
	var longest time.Duration
	for i := range requests {
		requests[i].Start, requests[i].End = start, end
		longest = max(longest, requests[i].Timeout)
		switch {
		case answer == nil:
			requests[i].read(nil, nil, err)
		case answer.StatusCode != http.StatusOK:
			requests[i].readWhole(answer.StatusCode, said)
		default:
			requests[i].Fault = "no answer to the line"
		}
	}
	if answer != nil && answer.StatusCode == http.StatusOK {
		for text := range bytes.Lines(said) {
			var line struct{ Line, Status int }
			if json.Unmarshal(text, &line) == nil && line.Line > 0 && line.Line <= len(requests) {
				r := &requests[line.Line-1]
				r.Fault = ""
				r.readWhole(line.Status, text)
			}
		}
	}
	for i := range requests {
		requests[i].Timeout = longest // all have been read together
		p.end(requests[i])
	}
}

// request sends one request to a worker. The answer is not nil if its header came.
func (p *memberPublisher) request(method string, via int, path string, header http.Header, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.slots[via].pushAddress()+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	r.Header, r.GetBody = header, nil
	if method != http.MethodPost {
		r.Body, r.ContentLength = nil, 0
	}
	answer, err := p.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	return answer, said, err
}
