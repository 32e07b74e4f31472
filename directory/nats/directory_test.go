package wspushnats_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/directory/directorytest"
	wspushnats "github.com/wspush/wspush/directory/nats"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	directorytest.Run(t, func(tb testing.TB) *directorytest.Engine { return suiteEngine(tb) })
}

func suiteEngine(tb testing.TB) *directorytest.Engine {
	e, admin := start(tb), &admin{tb: tb}
	entry := func(key string) string { return ".e." + base64.RawURLEncoding.EncodeToString([]byte(key)) + "." }
	put := func(subject, body string) func(tb testing.TB, prefix, key string) {
		return func(tb testing.TB, prefix, key string) {
			admin.put(tb, e.address, prefix+strings.Replace(subject, "KEY", entry(key), 1), body)
		}
	}
	owner := func(value string) func(tb testing.TB, prefix, session string) {
		return func(tb testing.TB, prefix, session string) {
			admin.put(tb, e.address, prefix+".o."+base64.RawURLEncoding.EncodeToString([]byte(session)), value)
		}
	}
	return &directorytest.Engine{
		Address: e.address,
		Open: func(tb testing.TB, address, prefix string) directory.Directory {
			return open(tb, address, &wspushnats.Options{Stream: prefix})
		},
		Empty: func(tb testing.TB) {
			stream, err := admin.on(tb, e.address).Stream(context.Background(), "suite")
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return // it has nothing yet
			}
			if err == nil {
				err = stream.Purge(context.Background())
			}
			if err != nil {
				tb.Fatal(err)
			}
		},
		Kill:    e.kill,
		Restart: e.restart,
		Nonsense: map[string]func(tb testing.TB, prefix, key string){
			"EntryIsText":        put("KEY1", "text"),
			"EntryIsEmpty":       put("KEY1", ""),
			"NumberIsText":       put("KEYtext", "+"),
			"NumberIsZero":       put("KEY0", "+"),
			"NumberIsNegative":   put("KEY-1", "-"),
			"NumberIsTooHigh":    put("KEY9223372036854775808", "+"),
			"GenerationIsEmpty":  put(".g", ""),
			"GenerationIsLong":   put(".g", strings.Repeat("x", 1000)),
			"LeaseIsText":        put(".l.7", "text"),
			"LeaseIsEmpty":       put(".l.7", ""),
			"LeaseHasNoNumber":   put(".l.x", "{}"),
			"LeaseIsAnotherType": put(".l.7", "[]"),
		},
		OwnerNonsense: map[string]func(tb testing.TB, prefix, session string){
			"Text":               owner("text"),
			"Empty":              owner(""),
			"EntryOfKey":         owner("+"),
			"NoLease":            owner("1"),
			"NoMoves":            owner("0 1"),
			"NegativeMoves":      owner("-1 1"),
			"MovesTooHigh":       owner("9007199254740992 1"),
			"MovesMuchTooHigh":   owner("99999999999999999999999 1"),
			"FractionOfMoves":    owner("1.5 1"),
			"MovesBeginWithZero": owner("01 1"),
			"LeaseIsZero":        owner("1 0"),
			"LeaseTooHigh":       owner("1 9223372036854775808"),
			"LeaseIsText":        owner("1 one"),
			"More":               owner("1 1 1"),
			"SpaceBehind":        owner("1 1 "),
			"Long":               owner(strings.Repeat("1", 100_000)),
		},
	}
}

func open(tb testing.TB, address string, opts *wspushnats.Options) directory.Directory {
	tb.Helper()
	d, err := wspushnats.New(connect(tb, address), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Close() })
	return d
}

// A stream of other settings may hide a loss.
func TestStreamRefused(t *testing.T) {
	e, admin := start(t), &admin{tb: t}
	good := jetstream.StreamConfig{Name: "wspush", Subjects: []string{"wspush.>"}, Storage: jetstream.MemoryStorage, Replicas: 1, MaxMsgsPerSubject: 1,
		MaxAge: directory.EntryTime, Discard: jetstream.DiscardNew, AllowDirect: true, AllowMsgTTL: true}
	for name, change := range map[string]func(c *jetstream.StreamConfig){
		"":              func(*jetstream.StreamConfig) {},
		"a limit":       func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 },
		"in files":      func(c *jetstream.StreamConfig) { c.Storage = jetstream.FileStorage },
		"no direct get": func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"no TTL":        func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false },
		"drops":         func(c *jetstream.StreamConfig) { c.Discard, c.MaxMsgs = jetstream.DiscardOld, 1000 },
		"keeps more":    func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 2 },
		"expires":       func(c *jetstream.StreamConfig) { c.MaxAge /= 2 },
		"more subjects": func(c *jetstream.StreamConfig) { c.Subjects = []string{"wspush.>", "other"} },
	} {
		config := good
		change(&config)
		if _, err := admin.on(t, e.address).CreateStream(context.Background(), config); err != nil {
			t.Fatal(err)
		}
		d := open(t, e.address, nil)
		_, err := d.Renew(context.Background(), directory.Lease{Number: 1})
		wanted := name == "" || name == "a limit"
		if wanted && err != nil || !wanted && (err == nil || !strings.Contains(err.Error(), "settings")) {
			t.Errorf("a stream of settings %q: %v", name, err)
		}
		if err := admin.on(t, e.address).DeleteStream(context.Background(), "wspush"); err != nil {
			t.Fatal(err)
		}
	}
}

// A stream that is full refuses entries, and says so; those that it has are found.
func TestFull(t *testing.T) {
	e, admin := start(t), &admin{tb: t}
	d := open(t, e.address, nil)
	view, err := d.Renew(context.Background(), directory.Lease{Number: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(context.Background(), 1, []directory.Change{{Key: "u:her", Present: true}}); err != nil {
		t.Fatal(err)
	}
	config := admin.stream(t, e.address, "wspush").CachedInfo().Config
	config.MaxMsgs = 3
	if _, err := admin.on(t, e.address).UpdateStream(context.Background(), config); err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(context.Background(), 1, []directory.Change{{Key: "u:him", Present: true}}); err == nil || !strings.Contains(err.Error(), "maximum messages") {
		t.Fatalf("Apply: %v, want what the server says", err)
	}
	found, err := d.Find(context.Background(), []string{"u:her"})
	if err != nil || !slices.Equal(found[0].Leases, []uint64{1}) || found[0].Generation != view.Generations[0] {
		t.Fatalf("Find: %+v, %v", found, err)
	}
}

// Entries go after a day, what says that somebody has left after a minute, and the generation never.
func TestExpiry(t *testing.T) {
	e, admin := start(t), &admin{tb: t}
	d := open(t, e.address, nil)
	if _, err := d.Renew(context.Background(), directory.Lease{Number: 1}); err != nil {
		t.Fatal(err)
	}
	for _, changes := range [][]directory.Change{{{Key: "a", Present: true}, {Key: "b", Present: true}}, {{Key: "b"}}} {
		if err := d.Apply(context.Background(), 1, changes); err != nil {
			t.Fatal(err)
		}
	}
	stream := admin.stream(t, e.address, "wspush")
	if age := stream.CachedInfo().Config.MaxAge; age != directory.EntryTime {
		t.Errorf("entries expire after %v", age)
	}
	for subject, want := range map[string]string{"wspush.e.YQ.1": "", "wspush.e.Yg.1": "60s", "wspush.g": "never", "wspush.l.1": "15s"} {
		m, err := stream.GetLastMsgForSubject(context.Background(), subject)
		if err != nil {
			t.Errorf("%s: %v", subject, err)
			continue
		}
		if got := m.Header.Get(jetstream.MsgTTLHeader); got != want {
			t.Errorf("%s expires after %q, want %q", subject, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	nc := connect(t, start(t).address)
	for _, name := range []string{"a.b", "a b", "*", ">", "é", strings.Repeat("x", 65)} {
		if _, err := wspushnats.New(nc, &wspushnats.Options{Stream: name}); err == nil || !strings.Contains(err.Error(), "Stream") {
			t.Errorf("a stream called %q: %v", name, err)
		}
	}
	if _, err := wspushnats.New(nil, nil); err == nil {
		t.Error("no connection: no error")
	}
	nc.Close()
	if _, err := wspushnats.New(nc, nil); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("a closed connection: %v", err)
	}
}

// While there is no server, calls fail at once, and nothing is kept to be sent when there is one again.
func TestDisconnected(t *testing.T) {
	e := start(t)
	nc := connect(t, e.address)
	d, err := wspushnats.New(nc, nil)
	if err == nil {
		_, err = d.Renew(context.Background(), directory.Lease{Number: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	lost := nc.StatusChanged(nats.RECONNECTING)
	e.kill(t)
	<-lost
	if err := d.Apply(context.Background(), 1, []directory.Change{{Key: "u:her", Present: true}}); err == nil || !strings.Contains(err.Error(), "not connected") {
		t.Errorf("Apply: %v", err)
	}
	if n, err := nc.Buffered(); err != nil || n != 0 {
		t.Errorf("%d bytes are kept: %v", n, err)
	}
}

// Close ends what New has begun; calls fail then, and do not wait.
func TestClose(t *testing.T) {
	nc := connect(t, start(t).address)
	d, err := wspushnats.New(nc, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := nc.NumSubscriptions(); got != 1 {
		t.Errorf("%d subscriptions, want 1", got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if got := nc.NumSubscriptions(); got != 0 {
		t.Errorf("%d subscriptions after Close", got)
	}
	if _, err := d.Find(context.Background(), []string{"u:her"}); err == nil {
		t.Error("Find after Close: no error")
	}
}
