package wspushtest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/publisher"
	"github.com/wspush/wspush/wspushtest"
)

const fakeID = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"

// Package publisher gets each outcome, whichever way it pushes.
func TestFakeWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fake wspushtest.FakeWorker
		var last publisher.PushResult
		client, err := publisher.New(&publisher.Options{
			Workers: []string{"http://worker.test/ws"}, Dial: wspushtest.Dialer(t, &fake),
			OnPush: func(_ context.Context, r publisher.PushResult) { last = r },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		stream := client.NewStream()
		defer stream.Close()
		ways := map[string]func(typ publisher.MessageType, opts ...publisher.PushOption) error{
			"Push": func(typ publisher.MessageType, opts ...publisher.PushOption) error {
				_, err := client.Push(t.Context(), fakeID, typ, []byte("hello"), opts...)
				return err
			},
			"User.Push": func(typ publisher.MessageType, opts ...publisher.PushOption) error {
				_, err := client.User("a b").Push(t.Context(), typ, []byte("hello"), opts...)
				return err
			},
			"Stream.Push": func(typ publisher.MessageType, opts ...publisher.PushOption) error {
				_, err := stream.Push(t.Context(), fakeID, typ, []byte("hello"), opts...)
				return err
			},
			"Stream.PushTo": func(typ publisher.MessageType, opts ...publisher.PushOption) error {
				_, err := stream.PushTo(t.Context(), client.Group("room"), typ, []byte("hello"), opts...)
				return err
			},
		}
		pushes := 0
		for way, push := range ways {
			check := func(want error, outcome string, typ publisher.MessageType, opts ...publisher.PushOption) {
				t.Helper()
				if err := push(typ, opts...); !errors.Is(err, want) || last.Outcome != outcome {
					t.Errorf("%s: %v (%s), want %v (%s)", way, err, last.Outcome, want, outcome)
				}
				pushes++
				if got := fake.Pushes(); len(got) != pushes || got[pushes-1].Type != typ || string(got[pushes-1].Data) != "hello" {
					t.Errorf("%s: got %v", way, got)
				}
			}
			fake.Write()
			check(nil, "written", publisher.Text)
			check(nil, "written", publisher.Binary)
			check(nil, "received", publisher.Text, publisher.Confirmed())
			fake.Buffer(1500 * time.Millisecond)
			check(nil, "buffered", publisher.Text)
			for _, want := range []error{
				publisher.ErrGone, publisher.ErrBusy, publisher.ErrSuspended, publisher.ErrTooLarge, publisher.ErrUnavailable, publisher.ErrShutdown,
				publisher.ErrUnknown, publisher.ErrUnauthorized, publisher.ErrForbidden, publisher.ErrDirectory, publisher.ErrUnreachable,
			} {
				fake.Refuse(t, want)
				if err := push(publisher.Text); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", way, err, want)
				}
				pushes++
				for _, e := range []error{publisher.ErrGone, publisher.ErrBusy, publisher.ErrShutdown, publisher.ErrUnknown, publisher.ErrUnavailable} {
					if e != want && errors.Is(last.Err, e) {
						t.Errorf("%s: %v is also %v", way, last.Err, e)
					}
				}
			}
		}
		fake.Buffer(1500 * time.Millisecond)
		if receipt, err := client.Push(t.Context(), fakeID, publisher.Text, nil); err != nil || receipt.BufferedFor != 2*time.Second {
			t.Errorf("%+v, %v", receipt, err)
		}
		fake.Write()
		n := 0
		for _, err := range stream.PushEach(t.Context(), slices.Values([]string{fakeID, fakeID}), publisher.Text, nil) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if got := len(fake.Pushes()); n != 2 || got != pushes+2 {
			t.Errorf("%d outcomes, and %d messages, want 2, and %d", n, got, pushes+2)
		}
	})
}

func TestFakeWorkerRefusesNonsense(t *testing.T) {
	for _, err := range []error{nil, publisher.ErrAddress, publisher.ErrInvalidUTF8, publisher.ErrTooManyGroups} {
		if got := failure(t, func(tb testing.TB) { new(wspushtest.FakeWorker).Refuse(tb, err) }); got == "" {
			t.Errorf("%v was taken", err)
		}
	}
}
