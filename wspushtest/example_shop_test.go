package wspushtest_test

import (
	"context"
	"errors"
	"fmt"
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
		User:         func(_ *http.Request, value any) string { return value.(string) },
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

// shipped tells a customer, on whatever is open. An error means that nobody was told.
func (s *shop) shipped(ctx context.Context, customer, order string) (wspush.Outcomes, error) {
	return s.worker.User(customer).Push(ctx, wspush.Text, fmt.Appendf(nil, "%s has shipped", order))
}

// promise asks the customer again when the delivery should have come.
func (s *shop) promise(customer, order string, after time.Duration) {
	time.AfterFunc(after, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, _ = s.worker.User(customer).Push(ctx, wspush.Text, []byte("Has "+order+" arrived?"))
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

	if outcomes, err := shop.shipped(t.Context(), "ada", "Order 7"); err != nil || outcomes.Written != 2 {
		t.Errorf("%+v, %v, want 2 written", outcomes, err)
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

	if _, err := shop.shipped(t.Context(), "ada", "Order 7"); err != nil {
		t.Error(err)
	}
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
		if _, err := shop.shipped(t.Context(), "ada", "Order 7"); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("got %v", err)
		}
	})
}

// Two processes of the shop, and what they share.
func TestShippedByAnotherProcess(t *testing.T) {
	cluster := wspushtest.NewCluster(t)
	worker := cluster.NewWorker(nil)
	first, err := newShop(worker)
	if err != nil {
		t.Fatal(err)
	}
	second, err := newShop(cluster.NewWorker(nil))
	if err != nil {
		t.Fatal(err)
	}
	ada := wspushtest.Connect(t, first, "/ws", &wspushtest.ClientOptions{Header: http.Header{"Cookie": {"customer=ada"}}})

	if _, err := second.shipped(t.Context(), "ada", "Order 7"); err != nil {
		t.Error(err)
	}
	ada.Expect("Order 7 has shipped")

	cluster.StopDirectory()
	if _, err := second.shipped(t.Context(), "ada", "Order 8"); !errors.Is(err, wspush.ErrDirectory) {
		t.Errorf("without a directory: %v", err)
	}
	cluster.StartDirectory()

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := worker.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	ada.ExpectClose(1012)
	if _, err := second.shipped(t.Context(), "ada", "Order 8"); !errors.Is(err, wspush.ErrGone) {
		t.Errorf("when her process has ended: %v", err)
	}
}
