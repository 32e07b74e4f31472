// Command resuming is the program in docs/resuming.md: it prints what is pushed to it, however often its connection is lost.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"
)

func main() {
	c := &client{handle: func(data []byte) { fmt.Printf("message: %s\n", data) }}
	fmt.Println("end:", c.receive(context.Background(), os.Args[1]))
}

type client struct {
	handle func(data []byte)
	ticket string
	offset uint64
	wait   time.Duration
}

// receive calls handle with every message, once and in order, until the server ends the session, and returns why.
func (c *client) receive(ctx context.Context, url string) error {
	for {
		err := c.connect(ctx, url)
		switch code := websocket.CloseStatus(err); {
		case ctx.Err() != nil || errors.Is(err, errRefused):
			return err
		case code != -1 && code != 1001 && code != 1005 && code != 1006 && code != 1012 && code != 1013 && code != 3000:
			return err
		}
		c.wait = min(max(2*c.wait, 500*time.Millisecond), 30*time.Second)
		time.Sleep(rand.N(c.wait))
	}
}

var errRefused = errors.New("refused")

// connect receives over one WebSocket until it is lost.
func (c *client) connect(ctx context.Context, url string) error {
	offers := []string{"wspush.v1"}
	if c.ticket != "" {
		offers = append(offers, fmt.Sprintf("wspush.resume.%s.%d", c.ticket, c.offset))
	}
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: offers})
	if err != nil {
		return err
	}
	defer ws.CloseNow() // without a close frame: 1000 would end the session
	ws.SetReadLimit(16 << 20)

	var hello struct {
		Refused, Address, Ticket, Why string
		Resumed                       bool
		Offset, Missed, After         uint64
	}
	_, data, err := ws.Read(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &hello); err != nil {
		return fmt.Errorf("%w: no hello of wspush.v1", errRefused)
	}
	switch hello.Refused {
	case "":
	case "retry":
		time.Sleep(time.Duration(hello.After) * time.Second)
		return nil
	default:
		return fmt.Errorf("%w: %s", errRefused, hello.Refused)
	}
	if c.ticket != "" && !hello.Resumed || hello.Missed > 0 {
		fmt.Println("lost:", hello.Why, hello.Missed)
	}
	c.ticket, c.offset, c.wait = hello.Ticket, hello.Offset, 0
	fmt.Println("address:", hello.Address)
	for {
		kind, data, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if kind == websocket.MessageText && strings.HasPrefix(string(data), "\x06") {
			if !strings.HasPrefix(string(data), "\x06\x06") {
				continue // control
			}
			data = data[1:]
		}
		c.offset++
		c.handle(data)
	}
}
