package wspushnats_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wspush/wspush/directory"
	wspushnats "github.com/wspush/wspush/directory/nats"
	"github.com/wspush/wspush/internal/membership/membershiptest"
)

var simulation = membershiptest.Flags()

// TestSimulation runs many users over many workers, each with a connection of its own, and kills the server in the middle.
func TestSimulation(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	engine := startProcess(t)
	js, err := jetstream.New(connect(t, engine.address))
	if err != nil {
		t.Fatal(err)
	}
	s := simulation()
	s.Directory = func(int) directory.Directory {
		nc, err := nats.Connect("nats://"+engine.address, nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		d, err := wspushnats.New(nc, nil)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	s.Kill = engine.kill
	s.Start = func() { engine.start(t) }
	s.Usage = func() membershiptest.Usage {
		return membershiptest.Usage{Bytes: int64(state(ctx, t, js).Bytes), Process: membershiptest.OfProcess(engine.process.Process.Pid)}
	}
	// Besides entries there are a lease for each worker, and the generation.
	s.Entries = func() int64 { return int64(state(ctx, t, js).Msgs) - int64(s.Workers) - 1 }
	s.Log = t.Logf
	r, err := s.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range s.Judge(r) {
		t.Error(finding)
	}
}

// state is that of the stream.
func state(ctx context.Context, tb testing.TB, js jetstream.JetStream) jetstream.StreamState {
	tb.Helper()
	stream, err := js.Stream(ctx, "wspush")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return jetstream.StreamState{}
	}
	if err != nil {
		tb.Fatal(err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return info.State
}
