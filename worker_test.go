package wspush_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/stats"
)

// What is no ID at all is not ErrGone, which has callers forget a client that is there. The error says what it looks like, and
// repeats nothing of it.
func TestInvalidID(t *testing.T) {
	w := newMember(t, wspush.WorkerOptions{PublicURL: "https://push.example.com"})
	server := serve(t, w, nil)
	client := testutil.Dial(t, server, testutil.Options{})
	client.Text() // the greeting
	var conn *wspush.Conn
	for conn = range w.Conns() {
	}
	id, ctx := conn.ID(), context.Background()
	for name, tt := range map[string]struct{ id, want string }{
		"nothing":                {"", "an empty string"},
		"a space":                {" ", "some other text of 1 bytes"},
		"an address":             {conn.Addresses()[0], "a URL"},
		"the other form":         {conn.PathAddresses()[0], "a URL"},
		"the greeting":           {strings.Join(append(conn.Addresses(), conn.PathAddresses()...), ","), "a URL"},
		"a sealed address":       {conn.SealedAddress(), "a URL"},
		"upper case":             {strings.ToUpper(id), "a UUID with upper-case letters"},
		"one digit in it":        {strings.ToUpper(id[:35]) + id[35:], "a UUID with upper-case letters"},
		"braces":                 {"{" + id + "}", "a UUID in another form"},
		"a URN":                  {"urn:uuid:" + id, "a UUID in another form"},
		"no hyphens":             {strings.ReplaceAll(id, "-", ""), "a UUID in another form"},
		"a path":                 {"/ws/@connections/" + id, "some other text"},
		"a part of it":           {id[:35], "some other text of 35 bytes"},
		"with a line break":      {id + "\n", "some other text of 37 bytes"},
		"a broken sealed ID":     {conn.SealedID() + "=", "a sealed ID that is incomplete or has been changed"},
		"the prefix of one":      {"v1.", "a sealed ID that is incomplete or has been changed"},
		"a name":                 {"ada", "some other text of 3 bytes"},
		"what String says of it": {conn.String(), "some other text of 8 bytes"},
	} {
		if tt.id == id {
			continue // without letters
		}
		_, err := w.Push(ctx, tt.id, wspush.Text, []byte("lost"))
		if !errors.Is(err, wspush.ErrInvalidID) || errors.Is(err, wspush.ErrGone) || !strings.Contains(err.Error(), "got "+tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(strings.ToLower(err.Error()), id[:8]) || strings.Contains(err.Error(), conn.SealedID()[:12])) {
			t.Errorf("%s: the error repeats what it got: %v", name, err)
		}
		if again := w.Disconnect(ctx, tt.id, 1000, ""); again == nil || err == nil || again.Error() != err.Error() {
			t.Errorf("%s: Disconnect: %v", name, again)
		}
	}
	if s := w.Stats(); s.RefusedBy != (stats.Refusals{Other: s.Refused}) || s.Refused == 0 {
		t.Errorf("%+v", s)
	}
	for _, of := range []string{id, conn.SealedID()} {
		if _, err := w.Push(ctx, of, wspush.Text, []byte(of)); err != nil {
			t.Error(err)
		}
		client.Expect(testutil.Text, of)
	}
	if _, err := w.Push(ctx, unknownID, wspush.Text, nil); !errors.Is(err, wspush.ErrGone) || errors.Is(err, wspush.ErrInvalidID) {
		t.Error(err)
	}
}

// Disconnect closes a connection of any worker, by its ID where it lives, and by its sealed ID everywhere.
func TestDisconnect(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	server := serve(t, holder, nil)
	ctx := context.Background()
	for name, tt := range map[string]struct {
		worker *wspush.Worker
		name   func(*wspush.Conn) string
		code   int
		reason string
	}{
		"by ID":                  {holder, (*wspush.Conn).ID, 1000, ""},
		"by sealed ID":           {holder, (*wspush.Conn).SealedID, 4001, "signed in elsewhere"},
		"through another worker": {other, (*wspush.Conn).SealedID, 4001, "zwei & drei=3; größer"},
		"any code":               {other, (*wspush.Conn).SealedID, 1002, ""},
		"without a reason":       {other, (*wspush.Conn).SealedID, 1000, ""},
	} {
		client, conn, _ := dial(t, holder, server, testutil.Options{})
		ended, forwarded := conn.Context(), other.Stats().Forwarded
		if err := tt.worker.Disconnect(ctx, tt.name(conn), tt.code, tt.reason); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if code, reason := client.AwaitClose(); code != tt.code || reason != tt.reason {
			t.Errorf("%s: the client is closed with %d %q", name, code, reason)
		}
		<-ended.Done()
		var reason *wspush.CloseError
		if !errors.As(context.Cause(ended), &reason) || reason.Cause != wspush.CauseClosed || reason.Code != tt.code || reason.Reason != tt.reason {
			t.Errorf("%s: the connection ended for %v", name, context.Cause(ended))
		}
		if err := tt.worker.Disconnect(ctx, tt.name(conn), tt.code, tt.reason); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("%s: again: %v", name, err)
		}
		want := uint64(0)
		if tt.worker == other {
			want = 2
		}
		if n := other.Stats().Forwarded - forwarded; n != want {
			t.Errorf("%s: %d requests were forwarded, want %d", name, n, want)
		}
	}
	for _, w := range []*wspush.Worker{holder, other} { // which counts pushes
		if s := w.Stats(); s.Written+s.Refused+s.Unknown != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// What Disconnect refuses, and that nothing is closed then.
func TestDisconnectRefused(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	client, conn, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{})
	ctx := context.Background()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, w := range []*wspush.Worker{holder, other} {
		for _, code := range []int{-1, 0, 999, 1004, 1005, 1006, 1010, 1015, 2999, 5000} {
			if err := w.Disconnect(ctx, conn.SealedID(), code, ""); err == nil || !strings.Contains(err.Error(), "close code") {
				t.Errorf("%d: %v", code, err)
			}
			if err := conn.Close(code, ""); err == nil {
				t.Errorf("Close takes %d", code)
			}
		}
		for _, reason := range []string{strings.Repeat("x", 124), "\xff"} {
			if err := w.Disconnect(ctx, conn.SealedID(), 1000, reason); err == nil || !strings.Contains(err.Error(), "reason") {
				t.Errorf("%q: %v", reason, err)
			}
		}
		if err := w.Disconnect(cancelled, conn.SealedID(), 1000, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if err := w.Disconnect(ctx, unknownID, 1000, ""); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("nobody: %v", err)
		}
		if err := w.Disconnect(ctx, conn.SealedID()+"A", 1000, ""); !errors.Is(err, wspush.ErrForbidden) {
			t.Errorf("a sealed ID that was changed: %v", err)
		}
	}
	if n := other.Stats().Forwarded; n != 0 {
		t.Errorf("%d requests were forwarded", n)
	}
	if _, err := conn.Push(ctx, wspush.Text, []byte("still there")); err != nil {
		t.Error(err)
	}
	client.Expect(testutil.Text, "still there")

	shutDown(t, holder)
	if err := holder.Disconnect(ctx, conn.SealedID(), 1000, ""); !errors.Is(err, wspush.ErrShutdown) {
		t.Errorf("after Shutdown: %v", err)
	}
	if err := other.Disconnect(ctx, conn.SealedID(), 1000, ""); !errors.Is(err, wspush.ErrUnreachable) {
		t.Errorf("the other worker has been shut down: %v", err)
	}
	silent, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: hangUp(t)}}))
	if err := other.Disconnect(ctx, silent.SealedID(), 1000, ""); !errors.Is(err, wspush.ErrUnknown) || strings.Contains(err.Error(), "message") {
		t.Errorf("a worker that takes the request and does not answer: %v", err)
	}
}
