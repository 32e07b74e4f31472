//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// longHeader is about what net/http takes of a handshake unless it is told otherwise.
const longHeader = 900 << 10

// longHandshakes connects clients with long User-Agents and the like, and at long paths, written with escapes or without. Then they say
// nothing.
func (s *scene) longHandshakes() error {
	long := strings.Repeat("a", longHeader)
	escaped, accented := strings.Repeat("%41", longHeader/3), strings.Repeat("%c3%a9", longHeader/6)
	return s.connectMany(1100, func(i int) (path, header string) {
		switch i % 8 {
		case 0:
			return "/ws/" + long, ""
		case 1:
			return "/ws/" + escaped, ""
		case 2:
			return "/ws/" + accented, ""
		case 3:
			return "/ws?" + long, ""
		case 4:
			return "/ws", "Sec-WebSocket-Protocol: " + long + "\r\n"
		default:
			return "/ws", "User-Agent: " + long + "\r\n"
		}
	})
}

// connectMany connects clients, some of which the worker may refuse.
func (s *scene) connectMany(n int, what func(i int) (path, header string)) error {
	var refused atomic.Int64
	connected, err := parallel(n, 8, func(i int) error {
		path, header := what(i)
		_, _, err := s.connect(path, header, 0)
		if errors.Is(err, errRefused) {
			refused.Add(1)
			return nil
		}
		return err
	})
	s.noted = fmt.Sprintf("%d connected, %d refused", connected-refused.Load(), refused.Load())
	s.settle()
	return err
}

// pushesToLongPath connects clients at the longest paths that the worker takes, and pushes to them: many lines in a few bulk requests.
// They must be answered soon: an answer takes as long as any other, and not as long as the path.
func (s *scene) pushesToLongPath() error {
	const clients, lines, within = 2, 900, 15 * time.Second
	var wait sync.WaitGroup
	var slow atomic.Bool
	for i := range clients {
		unit := []string{"%41", "a"}[i%2]
		for length := longHeader; ; length /= 2 {
			path := "/ws/" + strings.Repeat(unit, length/len(unit))
			_, id, err := s.connect(path, "", 0)
			if errors.Is(err, errRefused) && length > 1 {
				continue
			}
			if err != nil {
				return err
			}
			s.noted += fmt.Sprintf("connected at a path of %d bytes; ", len(path))
			wait.Go(func() {
				if !s.pushLines(id, lines, within) {
					slow.Store(true)
				}
			})
			break
		}
	}
	wait.Wait()
	s.noted = strings.TrimSuffix(s.noted, "; ")
	if slow.Load() {
		return fmt.Errorf("bulk requests of %d lines to clients at long paths were not answered within %v", lines, within)
	}
	s.hold(time.Second)
	return nil
}

// pushLines pushes to a connection in one bulk request, and reports whether all of it was answered in time.
func (s *scene) pushLines(id string, lines int, within time.Duration) bool {
	body := bytes.Repeat([]byte(`{"to":"`+id+`","text":"x","ref":"a line of about 130 bytes"}`+"\n"), lines)
	s.sent.Add(int64(len(body)))
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.victim.url()+"/ws/@connections", bytes.NewReader(body))
	if err != nil {
		return false
	}
	r.Header.Set("Authorization", "Bearer "+s.victim.Credential)
	r.Header.Set("Content-Type", "application/x-ndjson")
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: within}).Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return err == nil && bytes.Contains(answer, fmt.Appendf(nil, `"lines":%d`, lines))
}
