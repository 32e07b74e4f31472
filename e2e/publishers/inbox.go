package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

type message struct{ kind, data string }

// inbox is a client, and what it has received.
type inbox struct {
	close   func() error // which also refers to the socket: one that nothing refers to is closed
	address string       // with the ID as its user
	id      string
	got     chan message
}

func escape(name string) string { return url.QueryEscape(name) }

func connect(ctx context.Context, site, query string, protocols ...string) (*inbox, error) {
	conn, _, err := websocket.Dial(ctx, site+query, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		return nil, err
	}
	_, greeting, err := conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	if protocols != nil {
		var hello struct{ Address string }
		if err := json.Unmarshal(greeting, &hello); err != nil {
			return nil, err
		}
		greeting = []byte(hello.Address)
	}
	in := &inbox{close: conn.CloseNow, address: string(greeting), id: idOf(string(greeting)), got: make(chan message, 100)}
	go func() {
		defer close(in.got)
		for {
			kind, data, err := conn.Read(ctx)
			if err != nil {
				return
			}
			in.got <- message{map[websocket.MessageType]string{websocket.MessageText: "text", websocket.MessageBinary: "binary"}[kind], string(data)}
		}
	}()
	return in, nil
}

func idOf(address string) string {
	_, rest, _ := strings.Cut(address, "//")
	id, _, _ := strings.Cut(rest, "@")
	return id
}

// path returns the other form of the address.
func (in *inbox) path() string { return pathOf(in.address) }

func pathOf(address string) string {
	id := idOf(address)
	return strings.Replace(address, id+"@", "", 1) + "/@connections/" + id
}

func (in *inbox) next() (m message, ok bool) {
	select {
	case m, ok = <-in.got:
		return m, ok
	case <-time.After(10 * time.Second):
		return m, false
	}
}

// drain takes what has arrived, and what arrives just now, and says how many messages that were.
func (in *inbox) drain() (n int) {
	for {
		select {
		case _, ok := <-in.got:
			if !ok {
				return n
			}
			n++
		case <-time.After(50 * time.Millisecond):
			return n
		}
	}
}

// stranger is a client that answers no ping and, if it is to be deaf, reads nothing after its greeting.
func stranger(site string, deaf bool) (*inbox, error) {
	u, err := url.Parse(site)
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", u.Path, u.Host)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil || resp.StatusCode != http.StatusSwitchingProtocols || head[1] > 125 {
		return nil, fmt.Errorf("no greeting: %s, %w", resp.Status, err)
	}
	greeting := make([]byte, head[1])
	if _, err := io.ReadFull(r, greeting); err != nil {
		return nil, err
	}
	if !deaf {
		go func() { _, _ = io.Copy(io.Discard, r) }()
	}
	return &inbox{close: conn.Close, address: string(greeting), id: idOf(string(greeting))}, nil
}

// fill pushes to a client that does not read until its worker takes nothing more.
func fill(ctx context.Context, worker *wspush.Worker, id string) error {
	data := make([]byte, maxPush)
	for range 10_000 {
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		_, err := worker.Push(short, id, wspush.Binary, data)
		cancel()
		if errors.Is(err, wspush.ErrBusy) || errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
	}
	return errors.New("a client that does not read gets everything")
}

// stateOf returns the state of a session, as a publisher is told.
func stateOf(s *site, in *inbox) string {
	r, err := http.NewRequest(http.MethodHead, pathOf(in.address), nil)
	if err != nil {
		return ""
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	resp.Body.Close()
	return resp.Header.Get("Wspush-State")
}

func waitFor(ctx context.Context, is func() bool) error {
	for range 200 {
		if is() {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(25 * time.Millisecond):
		}
	}
	return errors.New("what was waited for has not happened")
}
