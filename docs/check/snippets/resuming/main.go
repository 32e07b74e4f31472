// Command resuming is the program in docs/resuming.md: it prints what is pushed to it, however often its connection is lost.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

func main() {
	err := receive(context.Background(), os.Args[1],
		func(h hello) { fmt.Println("address:", h.Address) },
		func(data []byte) { fmt.Printf("message: %s\n", data) })
	fmt.Println("end:", err)
}

type hello struct {
	Address, Ticket, Refused string
	Resumed                  bool
	Offset, Missed, After    int64
}

// receive calls handle with every message, once and in order, until the server ends the session, or ctx ends. It calls begin with the
// hello of each new session, and of one that has a new address, or in which messages are missing.
func receive(ctx context.Context, url string, begin func(hello), handle func(data []byte)) error {
	var latest hello // its Offset counts on
	for delay := time.Duration(0); ctx.Err() == nil; delay = min(2*delay+time.Second/2, 15*time.Second) {
		time.Sleep(delay + rand.N(delay+1))
		offers := []string{"wspush.v1"}
		if latest.Ticket != "" {
			offers = append(offers, fmt.Sprintf("wspush.resume.%s.%d", latest.Ticket, latest.Offset))
		}
		ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: offers})
		if err != nil {
			continue
		}
		ws.SetReadLimit(-1)
		var next hello
		if err := wsjson.Read(ctx, ws, &next); err != nil {
			continue
		}
		delay = time.Duration(next.After) * time.Second / 2 // doubled before the next turn
		if next.Refused == "" {
			isNew := !next.Resumed || next.Missed > 0 || next.Address != latest.Address
			latest = next
			if isNew {
				begin(next)
			}
		}
		kind, data, err := ws.Read(ctx)
		for ; err == nil; kind, data, err = ws.Read(ctx) {
			if kind == websocket.MessageText && bytes.HasPrefix(data, []byte{6}) {
				if data = data[1:]; !bytes.HasPrefix(data, []byte{6}) {
					continue // control
				}
			}
			latest.Offset++
			handle(data)
		}
		if next.Refused == "unauthorized" || next.Refused == "forbidden" {
			return errors.New(next.Refused)
		}
		if !slices.Contains([]websocket.StatusCode{-1, 1001, 1005, 1012, 1013, 3000}, websocket.CloseStatus(err)) {
			return err
		}
	}
	return ctx.Err()
}
