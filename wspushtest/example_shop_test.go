package wspushtest_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"
)

// shop is the application whose tests are in docs/testing.md. It tells customers about their orders.
type shop struct {
	worker *wspush.Worker
	http.Handler
}

func newShop(worker *wspush.Worker) (*shop, error) {
	sockets, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second,
		Accept:       func(r *http.Request) (any, error) { return customer(r) },
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "customer", Value: r.FormValue("name")})
	})
	mux.Handle("/ws", sockets)
	return &shop{worker: worker, Handler: mux}, nil
}

// customer returns who sent the request. A real shop would use sessions.
func customer(r *http.Request) (string, error) {
	cookie, err := r.Cookie("customer")
	if err != nil {
		return "", fmt.Errorf("%w: not signed in", wspush.ErrUnauthorized)
	}
	return cookie.Value, nil
}

// connsOf yields the connections of a customer, who may have several devices.
func (s *shop) connsOf(customer string) iter.Seq[*wspush.Conn] {
	return func(yield func(*wspush.Conn) bool) {
		for conn := range s.worker.Conns() {
			if conn.Value() == customer && !yield(conn) {
				return
			}
		}
	}
}

// shipped tells a customer, and returns how many devices were told.
func (s *shop) shipped(ctx context.Context, customer, order string) (told int) {
	message := fmt.Appendf(nil, "%s has shipped", order)
	for _, err := range s.worker.PushEach(ctx, s.connsOf(customer), wspush.Text, message) {
		if err == nil {
			told++
		}
	}
	return told
}

// promise asks the customer again when the delivery should have come.
func (s *shop) promise(customer, order string, after time.Duration) {
	time.AfterFunc(after, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for range s.worker.PushEach(ctx, s.connsOf(customer), wspush.Text, []byte("Has "+order+" arrived?")) {
		}
	})
}

func TestShipped(t *testing.T) {
	shop, err := newShop(wspushtest.NewWorker(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	as := func(customer string) *wspushtest.ClientOptions {
		return &wspushtest.ClientOptions{Header: http.Header{"Cookie": {"customer=" + customer}}}
	}
	phone := wspushtest.Connect(t, shop, "/ws", as("ada"))
	laptop := wspushtest.Connect(t, shop, "/ws", as("ada"))
	other := wspushtest.Connect(t, shop, "/ws", as("bob"))

	if told := shop.shipped(t.Context(), "ada", "Order 7"); told != 2 {
		t.Errorf("told %d devices, want 2", told)
	}
	phone.Expect("Order 7 has shipped")
	laptop.Expect("Order 7 has shipped")
	other.ExpectNothing(10 * time.Millisecond)
}

func TestSignIn(t *testing.T) {
	shop, err := newShop(wspushtest.NewWorker(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	wspushtest.ExpectRefused(t, shop, "/ws", http.StatusUnauthorized, nil)

	browser := wspushtest.HTTPClient(t, shop)
	resp, err := browser.Post("http://example.com/login?name=ada", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	ada := wspushtest.Connect(t, shop, "/ws", &wspushtest.ClientOptions{Jar: browser.Jar})

	shop.shipped(t.Context(), "ada", "Order 7")
	ada.Expect("Order 7 has shipped")
}

func TestPromise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shop, err := newShop(wspushtest.NewWorker(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		ada := wspushtest.Connect(t, shop, "/ws", &wspushtest.ClientOptions{Header: http.Header{"Cookie": {"customer=ada"}}})

		shop.promise("ada", "Order 7", 3*time.Hour)
		ada.ExpectNothing(3*time.Hour - time.Nanosecond)
		ada.Expect("Has Order 7 arrived?")
	})
}

func TestSilentClientIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shop, err := newShop(wspushtest.NewWorker(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		ada := wspushtest.Connect(t, shop, "/ws", &wspushtest.ClientOptions{
			Header:  http.Header{"Cookie": {"customer=ada"}},
			NoPongs: true, // its machine is gone
		})

		ada.ExpectNothing(6*time.Minute - time.Nanosecond)
		ada.ExpectClose(1001)
		if told := shop.shipped(t.Context(), "ada", "Order 7"); told != 0 {
			t.Errorf("told %d devices", told)
		}
	})
}
