//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// objectLines sends lines of bulk requests that take far more memory as values than as text. All connections send the same at a time.
func (s *scene) objectLines() error {
	objects := repeat(`{"x":[{"":0}`, `,{"":0}`, "]}\n", 2<<20)
	lines := [][]byte{
		objects, objects,
		repeat(`{"x":[0`, `,0`, "]}\n", 1<<20),
		repeat(`{"to":["`+nobody+`"`, `,""`, "]}\n", 1<<20),
		repeat(`{"x":{"":{}`, `,"":{}`, "}}\n", 1<<20),
		repeat(`{"x":`, `[`, "\n", 1<<20),
		repeat(`{"`, `\u0001`, "\":0}\n", 1<<20),
	}
	_, err := parallel(24, 24, func(int) error {
		c, err := s.dial(s.victim.Push)
		if err != nil {
			return err
		}
		if err := c.bulk(-1); err != nil {
			return err
		}
		go func() { _, _ = io.Copy(io.Discard, c.in) }() // ends with the attack
		for _, line := range lines {
			if c.chunk(line) != nil {
				return nil // it has had enough, which is its right
			}
		}
		return nil
	})
	s.settle()
	return err
}

// silenceAfterLines sends one long line in each of many bulk requests, has it answered, and says nothing any more.
func (s *scene) silenceAfterLines() error {
	line := repeat(`{"to":"`+nobody+`","text":"`, `\u0041`, "\"}\n", 6<<20)
	answered, err := parallel(110, 4, func(int) error {
		c, err := s.dial(s.victim.Push)
		if err != nil {
			return err
		}
		if err := errors.Join(c.bulk(-1), c.chunk(line)); err != nil {
			return err
		}
		status, err := c.answer()
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("a bulk request was answered with %d, %v", status, err)
		}
		text, err := c.in.ReadString('}') // behind the size of the chunk
		if !strings.Contains(text, `"line":1,"status":410`) {
			return fmt.Errorf("a line was answered with %q, %v", text, err)
		}
		return nil
	})
	s.noted = fmt.Sprintf("%d lines answered", answered)
	s.settle()
	return err
}

// unreadAnswers has bulk requests answered at length, and reads nothing. Each line is short for what is said of it: one answer for each
// of its targets, with a ref that JSON escapes.
func (s *scene) unreadAnswers() error {
	targets := strings.TrimSuffix(strings.Repeat(`"`+nobody+`",`, 1000), ",")
	var lines []byte
	for _, ref := range []string{`<`, `\u0001`, `\u2028`, `\"`} {
		lines = append(lines, repeat(`{"to":[`+targets+`],"text":"","ref":"`, ref, "\"}\n", 250*len(ref))...)
	}
	_, err := parallel(60, 60, func(int) error {
		c, err := s.dialWith(s.victim.Push, 4<<10)
		if err != nil {
			return err
		}
		if err := c.bulk(-1); err != nil {
			return err
		}
		for end := time.Now().Add(6 * time.Second); time.Now().Before(end); {
			if c.chunk(lines) != nil {
				return nil // it takes no more
			}
		}
		return nil
	})
	return err
}
