package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A Conn that is not there is left out, whoever else there is: Worker.Conn returns nil for an ID that has ended.
func TestExceptNobody(t *testing.T) {
	both(t, func(t *testing.T, withPeers bool) {
		m := newTeam(t, 2, withPeers, nil)
		ann, _ := as(t, m.workers[1], m.servers[1], "ann")
		to := m.workers[0].User("ann").Except(nil)
		if o, err := to.Push(context.Background(), wspush.Text, []byte("x")); err != nil || o.Written != 1 {
			t.Errorf("%+v, %v", o, err)
		}
		ann.Expect(testutil.Text, "x")
		n := 0
		for _, err := range to.Members(context.Background()) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 1 {
			t.Error(n)
		}
		if n, err := to.Disconnect(context.Background(), 1000, ""); n != 1 || err != nil {
			t.Error(n, err)
		}
	})
}

// An ID that is not sealed leaves a connection out, too, whichever worker has it.
func TestExceptBareID(t *testing.T) {
	both(t, func(t *testing.T, withPeers bool) {
		m := newTeam(t, 2, withPeers, nil)
		_, conn := as(t, m.workers[1], m.servers[1], "ann", "room")
		bob, _ := as(t, m.workers[1], m.servers[1], "bob", "room")
		base := "http://" + m.workers[0].Addr().String()
		if status, a := ask(t, base, "POST /@groups/room?except="+conn.ID(), "x"); status != 200 || a.Written != 1 || a.Excepted != 1 {
			t.Errorf("%d %+v", status, a)
		}
		bob.Expect(testutil.Text, "x")
		_, answers, err := postLines(publishing(t), base+"/ws/@connections", `{"group":"room","text":"y","except":"`+strings.ToUpper(conn.ID())+`"}`)
		if err != nil || !strings.Contains(answers[0], `"written":1,"received":0,"refused":{},"unknown":0,"excepted":1`) {
			t.Error(answers, err)
		}
		bob.Expect(testutil.Text, "y")
		if status, a := ask(t, base, "DELETE /@groups/room?close=all&except="+conn.ID(), ""); status != 200 || a.Closed != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if code, _ := bob.AwaitClose(); code == 0 {
			t.Error(code)
		}
	})
}

// A thousand connections of other workers can be left out, and more are refused before anything is done.
func TestExceptMany(t *testing.T) {
	m := newTeam(t, 2, false, nil)
	_, ann := as(t, m.workers[1], m.servers[1], "ann", "room")
	eve, _ := as(t, m.workers[1], m.servers[1], "eve", "room")
	ctx := context.Background()
	room := m.workers[0].Group("room").Except(slices.Repeat([]*wspush.Conn{ann}, 1000)...)
	if o, err := room.Push(ctx, wspush.Text, []byte("x")); err != nil || o.Written != 1 || o.Excepted != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	eve.Expect(testutil.Text, "x")
	if n, err := room.Disconnect(ctx, 1000, strings.Repeat("\xc3\xa4", 61)); n != 1 || err != nil {
		t.Error(n, err)
	}
	room = room.Except(ann)
	if o, err := room.Push(ctx, wspush.Text, []byte("x")); err == nil || !strings.Contains(err.Error(), "at most 1000 connections") || o.Workers != 0 {
		t.Errorf("%+v, %v", o, err)
	}
	if n, err := room.Disconnect(ctx, 1000, ""); n != 0 || err == nil {
		t.Error(n, err)
	}
	own, _ := as(t, m.workers[0], m.servers[0], "", "here")
	ids := slices.Repeat([]string{ann.SealedID()}, 1001)
	b := openBulk(t, dialPush(t, m.workers[0]))
	b.send(`{"group":"here","text":"x","except":["` + strings.Join(ids, `","`) + `"]}`)
	if a := b.answer(); !strings.Contains(a, `"status":400`) || !strings.Contains(a, "at most 1000") {
		t.Error(a)
	}
	own.Close()
}

// A panic in Peers fails those who ask, and nobody else: the next call counts.
func TestPeersPanic(t *testing.T) {
	other := newMember(t, *quiet())
	var panics atomic.Bool
	panics.Store(true)
	opts := *quiet()
	opts.AuthorizePush = anybody
	opts.Cluster = &wspush.Cluster{Peers: func(context.Context) ([]string, error) {
		if panics.Load() {
			panic("Peers")
		}
		return []string{other.ClusterAddress()}, nil
	}}
	opts.Cluster.SetTiming(quick)
	w := newMember(t, opts)
	base := "http://" + w.Addr().String()
	client := &http.Client{Timeout: 5 * time.Second}
	if resp, err := client.Post(base+"/@users/ann", "text/plain", strings.NewReader("x")); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		t.Log(resp.Status)
	} else {
		t.Log(err)
	}
	panics.Store(false)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	testutil.Eventually(t, "the next call", func() bool {
		_, err := w.User("ann").Push(ctx, wspush.Text, []byte("x"))
		return errors.Is(err, wspush.ErrGone) || ctx.Err() != nil
	})
	if ctx.Err() != nil {
		t.Error("users cannot be pushed to any more")
	}
}

// Peers may take their time, but a push ends with its context.
func TestPeersSlow(t *testing.T) {
	for name, obeys := range map[string]bool{"obeys": true, "does not obey": false} {
		t.Run(name, func(t *testing.T) {
			end := make(chan struct{})
			defer close(end)
			opts := *quiet()
			opts.Cluster = &wspush.Cluster{Peers: func(ctx context.Context) ([]string, error) {
				if obeys {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				select {
				case <-end:
				case <-time.After(5 * time.Second):
				}
				return nil, errors.New("late")
			}}
			w := newMember(t, opts)
			for i := range 2 {
				ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
				defer cancel()
				begun := time.Now()
				_, err := w.User("ann").Push(ctx, wspush.Text, []byte("x"))
				if took := time.Since(begun); took > time.Second {
					t.Errorf("push %d: %v, %v", i, took, err)
				}
			}
		})
	}
}

// A connection that has ended with the message unwritten does not let a user be gone who has another one, since opened.
func TestMovedIsNotGone(t *testing.T) {
	for name, at := range map[string]int{"to the worker asked": 0, "to the same worker": 1, "to a third worker": 2} {
		t.Run(name, func(t *testing.T) {
			m := newTeam(t, 3, false, nil)
			address := serveSmall(t, newHandler(t, m.workers[1], asQuery()), nil)
			slow := testutil.Handshake(t, dialSmall(t, address), testutil.Options{Path: "/ws?user=ann"})
			conn, _ := greeted(t, m.workers[1], slow)
			go func() { _, _ = conn.Push(context.Background(), wspush.Text, []byte(big[:300<<10])) }()
			testutil.Eventually(t, "something to wait", func() bool { return conn.Info().Pending > 0 })
			before := conn.Info().Pending
			result := make(chan error, 1)
			go func() {
				o, err := m.workers[0].User("ann").Push(context.Background(), wspush.Text, []byte("hello"))
				result <- fmt.Errorf("%w: %+v", err, o)
			}()
			testutil.Eventually(t, "the message to wait", func() bool { return conn.Info().Pending > before })
			ann, _ := as(t, m.workers[at], m.servers[at], "ann")
			_ = conn.Close(4000, "replaced")
			err := <-result
			if errors.Is(err, wspush.ErrGone) {
				t.Errorf("ann is connected, and has her greeting: %v", err)
			} else {
				ann.Expect(testutil.Text, "hello")
			}
			slow.Close()
		})
	}
}
