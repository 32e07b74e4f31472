package main

import (
	"bytes"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/wspush/wspush/bench/internal/order"
)

// form is how a server takes many messages. What it sends goes to the publisher's output; what is answered, to its counts.
type form interface {
	// send sends messages.
	send(t *bulking, p *bulkPublisher, messages int)
	// end says that there are no more.
	end(p *bulkPublisher)
	// part takes a part of an answer, and answered its end.
	part(t *bulking, p *bulkPublisher, body []byte) error
	answered(t *bulking, p *bulkPublisher) error
}

// newForm returns the form of that name for a server that pushes to its first client at address.
func newForm(name, address string) (form, *url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, nil, err
	}
	u = u.JoinPath("..")
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	var f form
	switch name {
	case order.Lines:
		f = &lines{head: fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n", u.RequestURI(), u.Host)}
	case order.Requests:
		f = &singles{path: u.RequestURI(), host: u.Host}
	default:
		return nil, nil, fmt.Errorf("unknown form %q", name)
	}
	return f, u, nil
}

// idOf is what a server calls a client that is pushed to at address.
func idOf(address string) string { return path.Base(address) }

// appendJSONList appends a list of strings in which nothing must be escaped.
func appendJSONList(b []byte, list []string) []byte {
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, s...)
		b = append(b, '"')
	}
	return b
}

// lines is wspush's form.
type lines struct{ head string }

func (f *lines) send(t *bulking, p *bulkPublisher, messages int) {
	if p.lines == 0 {
		p.out = append(p.out, f.head...)
	}
	b := t.scratch[:0]
	for range messages {
		ids, first := t.pick()
		if len(ids) == 1 {
			b = append(b, `{"to":"`...)
			b = append(b, ids[0]...)
			b = append(b, `","text":"`...)
		} else {
			b = append(b, `{"to":[`...)
			b = appendJSONList(b, ids)
			b = append(b, `],"text":"`...)
		}
		b = appendMessage(b, t.from, first, t.next())
		b = append(b, "\"}\n"...)
		p.lines++
	}
	t.scratch = b
	p.out = strconv.AppendInt(p.out, int64(len(b)), 16)
	p.out = append(p.out, "\r\n"...)
	p.out = append(p.out, b...)
	p.out = append(p.out, "\r\n"...)
}

func (f *lines) end(p *bulkPublisher) {
	if p.lines > 0 {
		p.out = append(p.out, "0\r\n\r\n"...)
	}
}

func (f *lines) part(t *bulking, p *bulkPublisher, body []byte) error {
	if p.answers.status != 200 {
		return fmt.Errorf("answered with %d: %q", p.answers.status, body)
	}
	for {
		i := bytes.IndexByte(body, '\n')
		if i < 0 {
			p.body = append(p.body, body...)
			return nil
		}
		line := body[:i]
		if len(p.body) > 0 {
			p.body = append(p.body, line...)
			line = p.body
		}
		if err := f.line(t, p, line); err != nil {
			return err
		}
		p.body = p.body[:0]
		body = body[i+1:]
	}
}

// line takes the answer to one push, or the last, which says how many lines were read.
func (f *lines) line(t *bulking, p *bulkPublisher, line []byte) error {
	if n, ok := member(line, `{"lines":`); ok {
		p.read = n
		return nil
	}
	number, ok := member(line, `"line":`)
	status, hasStatus := member(line, `"status":`)
	index, hasIndex := member(line, `"index":`)
	if !ok || !hasStatus || number < 1 || number > p.lines || index >= t.targets || hasIndex != (t.targets > 1) {
		return fmt.Errorf("an answer to nothing: %q", line)
	}
	push := (number-1)*t.targets + index
	for len(p.seen)*64 <= push {
		p.seen = append(p.seen, 0)
	}
	if p.seen[push/64]>>(push%64)&1 != 0 {
		return fmt.Errorf("answered a second time: %q", line)
	}
	p.seen[push/64] |= 1 << (push % 64)
	if status/100 != 2 && t.report.Refusal == "" {
		t.report.Refusal = string(line)
	}
	t.answer(p, status, 1)
	return nil
}

// member reads a number in a line of JSON.
func member(line []byte, name string) (value int, ok bool) {
	i := bytes.Index(line, []byte(name))
	if i < 0 {
		return 0, false
	}
	for _, c := range line[i+len(name):] {
		if c < '0' || c > '9' {
			break
		}
		value, ok = value*10+int(c-'0'), true
	}
	return value, ok
}

func (f *lines) answered(_ *bulking, p *bulkPublisher) error {
	if !p.ended || p.flying > 0 || p.read != p.lines || len(p.body) > 0 {
		return fmt.Errorf("the answer has ended with %d of %d lines, %d pushes not answered, and %q", p.read, p.lines, p.flying, p.body)
	}
	return nil
}

// singles sends a request for each message, for channels separated by commas.
type singles struct{ path, host string }

func (f *singles) send(t *bulking, p *bulkPublisher, messages int) {
	for range messages {
		ids, first := t.pick()
		b := append(p.out, "POST "...)
		b = append(b, f.path...)
		for i, id := range ids {
			b = append(b, "/,"[min(i, 1)])
			b = append(b, id...)
		}
		b = append(b, " HTTP/1.1\r\nHost: "...)
		b = append(b, f.host...)
		b = append(b, "\r\nContent-Type: text/plain\r\nContent-Length: "...)
		b = strconv.AppendInt(b, order.Size, 10)
		b = append(b, "\r\n\r\n"...)
		p.out = appendMessage(b, t.from, first, t.next())
	}
}

func (f *singles) end(*bulkPublisher) {}

func (f *singles) part(*bulking, *bulkPublisher, []byte) error { return nil }

func (f *singles) answered(t *bulking, p *bulkPublisher) error {
	t.answer(p, p.answers.status, t.targets)
	return nil
}
