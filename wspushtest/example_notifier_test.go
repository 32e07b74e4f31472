package wspushtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/publisher"
	"github.com/wspush/wspush/wspushtest"
)

// notifier is a service whose tests are in docs/testing.md. It pushes, and is not a worker itself.
type notifier struct {
	client    *http.Client
	addresses map[string]string // by user
}

// notify pushes to a user, and forgets the address if it is gone. While the client is busy it waits and tries again.
func (n *notifier) notify(ctx context.Context, user, message string) error {
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.addresses[user], strings.NewReader(message))
		if err != nil {
			return err
		}
		resp, err := n.client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusNoContent:
			return nil
		case http.StatusGone:
			delete(n.addresses, user)
		case http.StatusTooManyRequests:
			select {
			case <-time.After(5 * time.Second):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return fmt.Errorf("not notified: %s", resp.Status)
	}
}

func TestNotify(t *testing.T) {
	s := wspushtest.New(t, nil)
	c := s.Connect()
	n := &notifier{client: s.HTTPClient(), addresses: map[string]string{"ada": c.Address()}}

	if err := n.notify(t.Context(), "ada", "Order 7 has shipped"); err != nil {
		t.Fatal(err)
	}
	c.Expect("Order 7 has shipped")

	c.Close(1000, "")
	if err := n.notify(t.Context(), "ada", "Order 8 has shipped"); err == nil {
		t.Error("a client that has left was notified")
	}
	if address := n.addresses["ada"]; address != "" {
		t.Errorf("the address is not forgotten: %s", address)
	}
}

func TestNotifyBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []int{http.StatusTooManyRequests, http.StatusTooManyRequests, http.StatusNoContent}
		worker := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(answers[0])
			answers = answers[1:]
		})
		n := &notifier{client: wspushtest.HTTPClient(t, worker), addresses: map[string]string{"ada": "http://worker.test/ws/@connections/ID"}}

		begin := time.Now()
		if err := n.notify(t.Context(), "ada", "Order 7 has shipped"); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != 10*time.Second || len(answers) != 0 {
			t.Errorf("notified after %v, with %d answers left", took, len(answers))
		}
	})
}

// pusher is what code that uses package publisher needs of it: *publisher.Client is one.
type pusher interface {
	Push(ctx context.Context, address string, typ publisher.MessageType, data []byte, opts ...publisher.PushOption) (publisher.Receipt, error)
}

var _ pusher = (*publisher.Client)(nil)

// inform is such code.
func inform(ctx context.Context, p pusher, address, message string) (forget bool, err error) {
	_, err = p.Push(ctx, address, publisher.Text, []byte(message))
	return errors.Is(err, publisher.ErrGone), err
}

// pushes is a pusher that records what it is given and returns err.
type pushes struct {
	err error
	got []string
}

func (p *pushes) Push(_ context.Context, address string, _ publisher.MessageType, data []byte, _ ...publisher.PushOption) (publisher.Receipt, error) {
	p.got = append(p.got, address+": "+string(data))
	return publisher.Receipt{}, p.err
}

func TestInform(t *testing.T) {
	p := &pushes{err: publisher.ErrGone}
	if forget, _ := inform(t.Context(), p, "http://ID@worker.test/ws", "hello"); !forget {
		t.Error("the address is kept")
	}
	if want := "http://ID@worker.test/ws: hello"; len(p.got) != 1 || p.got[0] != want {
		t.Errorf("pushed %q, want %q", p.got, want)
	}
}

func TestInformOverTheNetwork(t *testing.T) {
	s := wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{Listen: "127.0.0.1:0"}})
	c := s.Connect()
	p, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	if _, err := inform(t.Context(), p, c.Address(), "hello"); err != nil {
		t.Fatal(err)
	}
	c.Expect("hello")
}

func TestInformInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, nil)
		c := s.Connect()
		p, err := publisher.New(&publisher.Options{Hosts: []string{"worker.test"}, Dial: wspushtest.Dialer(t, s.Worker)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()

		if _, err := inform(t.Context(), p, c.Address(), "hello"); err != nil {
			t.Fatal(err)
		}
		c.Expect("hello")
		c.Close(1000, "")
		if forget, err := inform(t.Context(), p, c.Address(), "hello?"); !forget {
			t.Error("the address is kept:", err)
		}
	})
}

// Package publisher pushes to users and groups in memory too, by requests and over a stream.
func TestPublisherUsersInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, &wspushtest.Options{
			Worker:  wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens("a-token-that-is-long-enough-for-a-test")},
			Handler: wspush.HandlerOptions{User: func(*http.Request, any) string { return "ada" }},
		})
		phone, laptop := s.Connect(), s.Connect()
		p, err := publisher.New(&publisher.Options{
			Workers: []string{"http://worker.test/ws"}, Credential: "a-token-that-is-long-enough-for-a-test", Dial: wspushtest.Dialer(t, s.Worker),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		stream := p.NewStream()
		defer stream.Close()
		outcomes, err := p.User("ada").Push(t.Context(), publisher.Text, []byte("one"))
		if err != nil || outcomes.Written != 2 {
			t.Errorf("%+v, %v", outcomes, err)
		}
		if err := p.Join(t.Context(), phone.ID, "phones"); err != nil {
			t.Error(err)
		}
		outcomes, err = stream.PushTo(t.Context(), p.Group("phones"), publisher.Text, []byte("two"))
		if err != nil || outcomes.Written != 1 {
			t.Errorf("%+v, %v", outcomes, err)
		}
		phone.Expect("one")
		phone.Expect("two")
		laptop.Expect("one")
	})
}

// Package publisher's bulk requests work in memory too, full duplex.
func TestStreamInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wspushtest.New(t, nil)
		c := s.Connect()
		p, err := publisher.New(&publisher.Options{Hosts: []string{"worker.test"}, Dial: wspushtest.Dialer(t, s.Worker)})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		stream := p.NewStream()
		defer stream.Close()
		for _, message := range []string{"one", "two"} {
			if _, err := stream.Push(t.Context(), c.Address(), publisher.Text, []byte(message)); err != nil {
				t.Fatal(err)
			}
			c.Expect(message)
		}
	})
}
