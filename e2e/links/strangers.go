//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"
)

// noSockets has one worker ask another one through nginx, which does not pass WebSockets on.
func (s *scene) noSockets() {
	asker, plain, secure := s.place("asker"), s.place("plain"), s.place("with TLS")
	p := s.proxy(nginxWithout, plain, secure)
	if !s.starts(asker.start(), plain.start(), secure.start(), p.start()) {
		return
	}
	var all sync.WaitGroup
	for _, holder := range []*place{plain, secure} {
		all.Go(func() {
			clients, err := holder.connect(2)
			if !s.starts(err) {
				return
			}
			publishers := s.publishers(asker)
			publishers.each(s.ctx, 8, 20, 200, 200*time.Millisecond, clients)
			err = errors.Join(publishers.bulk(20, clients), publishers.bulk(20, clients))
			err = errors.Join(err, publishers.book.only(http.StatusBadGateway), s.judge(publishers.book, clients))
			s.check(holder.name+": 502, and nothing is written", err)
			s.check(holder.name+": one warning says why", warnsOnce(asker, holder, "does not let WebSockets through"))
		})
	}
	all.Wait()
}

// warnsOnce returns an error unless a worker has logged one warning about another one, with these words.
func warnsOnce(asker, about *place, words string) error {
	address := about.set.Address
	if address == "" {
		address = about.url()
	}
	var found []string
	for _, w := range asker.warnings() {
		if strings.Contains(w, address) {
			found = append(found, w)
		}
	}
	if len(found) != 1 || !strings.Contains(found[0], words) {
		return fmt.Errorf("warnings: %q", found)
	}
	return nil
}

// stranger is a server that answers 204 to everything, and keeps what it was sent.
type stranger struct {
	server *http.Server
	mu     sync.Mutex // guards what follows
	seen   []string
}

func newStranger(at string) (*stranger, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	n := new(stranger)
	n.server = &http.Server{Handler: n, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = n.server.Serve(l) }() // until Close
	return n, nil
}

func (n *stranger) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	text, _ := httputil.DumpRequest(r, true)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, string(text))
	rw.WriteHeader(http.StatusNoContent)
}

// onlyOpenings returns an error if it was sent anything but openings of links, or none.
func (n *stranger) onlyOpenings() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, text := range n.seen {
		_, body, _ := strings.Cut(text, "\r\n\r\n")
		if !strings.HasPrefix(text, "GET /@link/") || body != "" || strings.Contains(text, filler(20)) {
			return fmt.Errorf("it was sent:\n%.1000s", text)
		}
	}
	if len(n.seen) == 0 {
		return errors.New("it was sent nothing")
	}
	return nil
}

// replaced has something else listen at the port of a killed worker.
func (s *scene) replaced() {
	asker, holder := s.place("asker"), s.place("holder")
	if !s.starts(asker.start(), holder.start()) {
		return
	}
	clients, err := holder.connect(4)
	if !s.starts(err) {
		return
	}
	publishers := s.publishers(asker)
	publishers.each(s.ctx, 8, 20, 200, 0, clients)
	s.check("pushes arrive", errors.Join(publishers.book.only(http.StatusNoContent), s.judge(publishers.book, clients)))
	old := clients[0]
	holder.process.kill()
	other, err := newStranger(holder.set.Push)
	if !s.starts(err) {
		return
	}
	publishers = s.publishers(asker)
	publishers.each(s.ctx, 8, 60, 200, 50*time.Millisecond, clients)
	err = publishers.bulk(100, clients)
	for _, c := range clients {
		c.forget() // what came before
	}
	s.check("502 to all pushes", errors.Join(err, publishers.book.only(http.StatusBadGateway), s.judge(publishers.book, clients)))
	s.check("it sees nothing but openings", other.onlyOpenings())
	s.check("one warning says why", warnsOnce(asker, holder, "is no worker with the same keys"))
	_ = other.server.Close()
	if s.starts(holder.start()) {
		s.check("pushes work again when the worker is back", s.isBack(asker, holder, old))
	}
}

// isBack returns an error unless a worker that has been started again is soon found by another one: pushes to an old connection
// are 410, and to a new one 204.
func (s *scene) isBack(asker, holder *place, old *client) error {
	p := s.publishers(asker)
	number := p.book.publisher(2)
	seq := 0
	is := func(c *client, want int) error {
		last := 0
		ok := await(s.ctx, restored+time.Second, func() bool {
			seq++
			last = p.push(c, stamp{number, seq}, 200).status
			return last == want
		})
		if !ok {
			return fmt.Errorf("a push is still answered with %d, not %d", last, want)
		}
		return nil
	}
	clients, err := holder.connect(1)
	if err != nil {
		return err
	}
	err = errors.Join(is(old, http.StatusGone), is(clients[0], http.StatusNoContent))
	return errors.Join(err, p.book.only(http.StatusBadGateway, http.StatusGone, http.StatusNoContent), s.judge(p.book, clients))
}
