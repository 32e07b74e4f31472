//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// publishers push through one worker.
type publishers struct {
	scene *scene
	via   string // the worker's push endpoint
	http  *http.Client
	book  *book
}

func (s *scene) publishers(via *place) *publishers {
	config, err := tlsOf(via.set.Authority, via.set.Certificate, via.set.CertificateKey)
	if err != nil {
		panic(err) // they are our own
	}
	return &publishers{s, via.url(), s.http(config), newBook()}
}

func (p *publishers) address(c *client) string { return p.via + "/ws/@connections/" + c.id }

// request sends a request, and reads the answer.
func (p *publishers) request(method, url, body, media string) (status int, answer []byte, err error) {
	r, err := http.NewRequestWithContext(p.scene.ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.GetBody = nil // so that the client cannot send it again by itself
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	resp, err := p.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// push pushes one message, and enters it into the book.
func (p *publishers) push(to *client, s stamp, size int) *entry {
	e := &entry{to: to, begun: time.Now()}
	status, _, err := p.request(http.MethodPost, p.address(to), s.text(size), "text/plain")
	e.status, e.took = status, time.Since(e.begun)
	if err != nil {
		e.status, e.fault = 0, err.Error()
	}
	p.book.enter(s, e)
	return e
}

// each has n publishers push one message after the other, n to 1 client of these, until count of them each were sent or ctx
// ends.
func (p *publishers) each(ctx context.Context, n, count, size int, pause time.Duration, to []*client) {
	var all sync.WaitGroup
	first := p.book.publisher(n)
	for i := range n {
		all.Go(func() {
			for seq := 0; seq < count && ctx.Err() == nil; seq++ {
				p.push(to[i%len(to)], stamp{first + i, seq}, size)
				if pause > 0 {
					sleep(ctx, pause)
				}
			}
		})
	}
	all.Wait()
}

// endless is a count that is never reached.
const endless = 1 << 30

// bulk pushes lines in one bulk request, to the clients in turn.
func (p *publishers) bulk(lines int, to []*client) error {
	first := p.book.publisher(len(to))
	var body strings.Builder
	all := make([]*entry, lines)
	for i := range lines {
		s := stamp{first + i%len(to), i / len(to)}
		all[i] = &entry{to: to[i%len(to)]}
		p.book.enter(s, all[i])
		line, err := json.Marshal(map[string]string{"to": all[i].to.id, "text": s.text(100)})
		if err != nil {
			return err
		}
		body.Write(append(line, '\n'))
	}
	status, answer, err := p.request(http.MethodPost, p.via+"/ws/@connections", body.String(), "application/x-ndjson")
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("%d, %v: %.300s", status, err, answer)
	}
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	answered := 0
	for line := range bytes.Lines(answer) {
		var said struct{ Line, Status, Lines int }
		if err := json.Unmarshal(line, &said); err != nil {
			return fmt.Errorf("%w: %s", err, line)
		}
		switch {
		case said.Line > 0:
			answered++
			all[said.Line-1].status = said.Status
		case said.Lines != lines:
			return fmt.Errorf("the answer ends with %s", line)
		}
	}
	if answered != lines {
		return fmt.Errorf("%d lines of %d were answered", answered, lines)
	}
	return nil
}

// inside has the worker push in-process, count messages to each client.
func (p *publishers) inside(via *place, count int, to []*client) error {
	what := inside{Count: count, First: p.book.publisher(len(to))}
	for _, c := range to {
		what.To = append(what.To, c.id)
	}
	all, err := via.inside(what)
	if err != nil {
		return err
	}
	for i, outcomes := range all {
		for seq, outcome := range outcomes {
			e := &entry{to: to[i], status: http.StatusNoContent}
			if outcome != "" {
				e.status, e.fault = http.StatusBadGateway, outcome
			}
			p.book.enter(stamp{what.First + i, seq}, e)
		}
	}
	return nil
}
