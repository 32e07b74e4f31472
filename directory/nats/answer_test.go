package wspushnats_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/wspush/wspush/directory"
	wspushnats "github.com/wspush/wspush/directory/nats"
)

// What comes in part is an error, since nobody knows who was in the rest. So is what the server should not say.
func TestAnswers(t *testing.T) {
	e := &engine{options: &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}} // no JetStream
	e.restart(t)
	t.Cleanup(func() { e.kill(t) })
	message := func(subject, body, seq, previous string) *nats.Msg {
		return &nats.Msg{Data: []byte(body), Header: nats.Header{"Nats-Subject": {subject}, "Nats-Sequence": {seq}, "Nats-Last-Sequence": {previous}}}
	}
	status := func(status, description, pending, previous string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{"Status": {status}, "Description": {description}, "Nats-Num-Pending": {pending}, "Nats-Last-Sequence": {previous}}}
	}
	generation, her := message("wspush.g", "0123456789ab", "5", "0"), message("wspush.e.dTpoZXI.7", "+", "9", "5")
	end := status("204", "EOB", "0", "9")
	for name, test := range map[string]struct {
		answer []*nats.Msg
		want   string // of the error
	}{
		"whole":          {[]*nats.Msg{generation, her, end}, ""},
		"first missing":  {[]*nats.Msg{her, end}, "in part"},
		"second missing": {[]*nats.Msg{generation, end}, "in part"},
		"all missing":    {[]*nats.Msg{end}, "in part"},
		"twice":          {[]*nats.Msg{generation, generation, her, end}, "in part"},
		"too long":       {[]*nats.Msg{generation, her, status("204", "EOB", "3", "9")}, "too long"},
		"expired":        {[]*nats.Msg{generation, status("404", "Message Not Found", "", "")}, "expired"},
		"refused":        {[]*nats.Msg{status("408", "Bad Request", "", "")}, "Bad Request"},
		"too many":       {[]*nats.Msg{status("413", "Too Many Results", "", "")}, "more than"},
		"nonsense":       {[]*nats.Msg{{Data: []byte("nonsense")}}, "in part"},
		"not asked for":  {[]*nats.Msg{generation, message("wspush.e.dTpoaW0.7", "+", "9", "5"), end}, "no entry"},
		"unending":       {[]*nats.Msg{generation, her}, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			answerer := connect(t, e.address)
			_, err := answerer.Subscribe("$JS.API.DIRECT.GET.wspush", func(request *nats.Msg) {
				for _, m := range test.answer {
					if err := request.RespondMsg(&nats.Msg{Data: m.Data, Header: m.Header}); err != nil {
						t.Error(err)
					}
				}
			})
			if err == nil {
				err = answerer.Flush()
			}
			if err != nil {
				t.Fatal(err)
			}
			d := open(t, e.address, nil)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			found, err := d.Find(ctx, []string{"u:her"})
			switch {
			case test.want == "" && (err != nil || len(found[0].Leases) != 1 || found[0].Generation != "0123456789ab"):
				t.Errorf("%+v, %v", found, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%+v, %v, want an error about %q", found, err, test.want)
			}
			answerer.Close()
		})
	}
	// With neither JetStream nor anybody who answers in its place, nothing is known.
	d := open(t, e.address, nil)
	if found, err := d.Find(context.Background(), []string{"u:her"}); err != nil || found[0].Generation != "" {
		t.Errorf("Find without a stream: %+v, %v, want no generation", found, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := d.Renew(ctx, directory.Lease{Number: 1}); err == nil {
		t.Error("Renew without JetStream: no error")
	}
	if err := d.Apply(ctx, 1, []directory.Change{{Key: "u:her", Present: true}}); err == nil {
		t.Error("Apply without a stream: no error")
	}
}

// A new stream begins somewhere else, so that a tombstone for an entry in the one before meets no entry in this one.
func TestNewStream(t *testing.T) {
	e := start(t)
	admin := &admin{tb: t}
	seen := make(map[uint64]bool)
	for range 3 {
		d := open(t, e.address, &wspushnats.Options{Stream: "other"})
		if _, err := d.Renew(context.Background(), directory.Lease{Number: 1}); err != nil {
			t.Fatal(err)
		}
		first := admin.stream(t, e.address, "other").CachedInfo().State.FirstSeq
		if seen[first] || first < 1000 {
			t.Errorf("the stream begins at %d", first)
		}
		seen[first] = true
		if err := admin.on(t, e.address).DeleteStream(context.Background(), "other"); err != nil {
			t.Fatal(err)
		}
	}
}

// No answer comes to a question that was asked on a connection which has broken since, also if there is another one.
func TestConnectionBreaks(t *testing.T) {
	for name, stays := range map[string]bool{"for good": true, "for a moment": false} {
		t.Run(name, func(t *testing.T) {
			e := &engine{options: &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true}} // no JetStream
			e.restart(t)
			t.Cleanup(func() { e.kill(t) })
			asked := make(chan struct{}, 1)
			answerer := connect(t, e.address)
			_, err := answerer.Subscribe("$JS.API.DIRECT.GET.wspush", func(*nats.Msg) { asked <- struct{}{} })
			if err == nil {
				err = answerer.Flush()
			}
			if err != nil {
				t.Fatal(err)
			}
			d := open(t, e.address, nil)
			found := make(chan error, 1)
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			go func() {
				_, err := d.Find(ctx, []string{"u:her"})
				found <- err
			}()
			<-asked
			e.kill(t)
			if !stays {
				e.restart(t)
			}
			if err := <-found; err == nil || !strings.Contains(err.Error(), "broke") {
				t.Errorf("%v", err)
			}
		})
	}
}
