//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// throughProxy has one worker ask two others, which it reaches through a proxy, plainly and with TLS.
func (s *scene) throughProxy(kind *proxyKind) {
	asker, plain, secure := s.place("asker"), s.place("plain"), s.place("with TLS")
	p := s.proxy(kind, plain, secure)
	if !s.starts(asker.start(), plain.start(), secure.start(), p.start()) {
		return
	}
	s.check("it offers HTTP/2", s.speaksHTTP2(p.secure))
	var all sync.WaitGroup
	for _, to := range []*place{plain, secure} {
		all.Go(func() {
			if link := s.traffic(asker, to); link != nil {
				s.check(to.name+": 30 s of silence leave the link as it is", s.silence(asker, to, link))
			}
		})
	}
	all.Wait()
	s.restarts(asker, p, plain, secure)
}

// traffic pushes to connections of another worker in all ways. It returns the link, or nil if there is none.
func (s *scene) traffic(asker, holder *place) map[string]bool {
	way := holder.name
	clients, err := holder.connect(8)
	if !s.starts(err) {
		return nil
	}
	check := func(what string, do func(*publishers) error) {
		p := s.publishers(asker)
		err := do(p)
		s.check(way+": "+what, errors.Join(err, p.book.only(http.StatusNoContent), s.judge(p.book, clients)))
		for _, c := range clients {
			c.forget()
		}
	}
	check("1008 pushes by 16 publishers arrive once and in order", func(p *publishers) error {
		p.each(s.ctx, 16, 63, 200, 0, clients)
		return nil
	})
	check("a bulk request of 1000 lines arrives once and in order", func(p *publishers) error { return p.bulk(1000, clients) })
	check("800 in-process pushes arrive once and in order", func(p *publishers) error { return p.inside(asker, 100, clients) })
	check("32 pushes of 1 MiB, beside small ones, arrive whole and once", func(p *publishers) error {
		var both sync.WaitGroup
		both.Go(func() { p.each(s.ctx, 4, 8, 1<<20, 0, clients) })
		both.Go(func() { p.each(s.ctx, 4, 50, 100, 0, clients) })
		both.Wait()
		return nil
	})
	s.check(way+": GET describes a connection, and DELETE closes it", s.getAndDelete(asker, holder))
	link, err := established(holder.set.Push)
	if err == nil && len(link) != 1 {
		err = fmt.Errorf("there are %d connections to the worker", len(link))
	}
	s.check(way+": all of that went over one link", err)
	return link
}

// getAndDelete asks about a connection, closes it, and asks again.
func (s *scene) getAndDelete(asker, holder *place) error {
	clients, err := holder.connect(1)
	if err != nil {
		return err
	}
	c, p := clients[0], s.publishers(asker)
	var about struct{ Path string }
	status, answer, err := p.request(http.MethodGet, p.address(c), "", "")
	if err != nil || status != http.StatusOK || json.Unmarshal(answer, &about) != nil || about.Path != "/ws" {
		return fmt.Errorf("GET: %d, %v: %s", status, err, answer)
	}
	status, answer, err = p.request(http.MethodDelete, p.address(c)+"?code=4001&reason=bye", "", "")
	if err != nil || status != http.StatusNoContent {
		return fmt.Errorf("DELETE: %d, %v: %s", status, err, answer)
	}
	select {
	case <-c.ended:
	case <-time.After(5 * time.Second):
		return errors.New("DELETE: the client is still connected")
	}
	if code := websocket.CloseStatus(c.err); code != 4001 {
		return fmt.Errorf("DELETE: the client's connection has ended with %v", c.err)
	}
	status, answer, err = p.request(http.MethodGet, p.address(c), "", "")
	if err != nil || status != http.StatusGone || !bytes.Contains(answer, []byte("urn:wspush:gone")) {
		return fmt.Errorf("GET after DELETE: %d, %v: %s", status, err, answer)
	}
	return nil
}

// silence waits for 30 s, and then pushes over the same link.
func (s *scene) silence(asker, holder *place, link map[string]bool) error {
	clients, err := holder.connect(1)
	if err != nil {
		return err
	}
	sleep(s.ctx, 30*time.Second)
	after, err := established(holder.set.Push)
	if err != nil {
		return err
	}
	if !maps.Equal(link, after) {
		return fmt.Errorf("the link was %v, and is %v", link, after)
	}
	p := s.publishers(asker)
	p.each(s.ctx, 1, 10, 100, 0, clients)
	if err := errors.Join(p.book.only(http.StatusNoContent), s.judge(p.book, clients)); err != nil {
		return err
	}
	if after, err = established(holder.set.Push); err == nil && !maps.Equal(link, after) {
		err = fmt.Errorf("after a push, the link %v is %v", link, after)
	}
	return err
}
