package publisher_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// A connection joins and leaves groups by its address and by its ID.
func TestJoin(t *testing.T) {
	w, server := membersWorker(t, wspush.WorkerOptions{MaxGroups: 2})
	_, clientID, address := connect(t, server, "ann", "a")
	c := asks(t, "http://"+w.Addr().String()+"/ws")
	conn := func() *wspush.Conn {
		for c := range w.Conns() {
			return c
		}
		return nil
	}()
	for i, to := range []string{clientID, address, conn.PathAddresses()[0]} {
		for range 2 { // the second changes nothing
			if err := inError(t, c.Join(context10(t), to, "b c")); err != nil || len(conn.Groups()) != 2 || conn.Groups()[1] != "b c" {
				t.Errorf("%d: %v: groups are %q", i, err, conn.Groups())
			}
		}
		if err := inError(t, c.Join(context10(t), to, "c")); !errors.Is(err, wspush.ErrTooManyGroups) || !errors.Is(err, publisher.ErrTooManyGroups) {
			t.Errorf("%d: %v", i, err)
		}
		for range 2 {
			if err := inError(t, c.Leave(context10(t), to, "b c")); err != nil || len(conn.Groups()) != 1 {
				t.Errorf("%d: %v: groups are %q", i, err, conn.Groups())
			}
		}
	}
	// An ID is good for the other calls, too.
	if err := inError(t, outcome(c.Push(context10(t), clientID, publisher.Text, nil))); err != nil {
		t.Error(err)
	}
	if info, err := c.Lookup(context10(t), clientID); inError(t, err) != nil || info.ID != clientID {
		t.Errorf("%+v, %v", info, err)
	}
	s := c.NewStream()
	defer s.Close()
	if err := inError(t, outcome(s.Push(context10(t), clientID, publisher.Text, nil))); err != nil {
		t.Error(err)
	}
	if err := inError(t, c.Disconnect(context10(t), clientID, 1000, "")); err != nil {
		t.Error(err)
	}
	testutil.Eventually(t, "its end", func() bool { return errors.Is(c.Join(context10(t), clientID, "x"), publisher.ErrGone) })
}

// The errors are those of a push, and nothing is sent twice.
func TestJoinErrors(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"410": {problem(410, "gone"), publisher.ErrGone}, "409": {problem(409, "too-many-groups"), publisher.ErrTooManyGroups}, "403": {problem(403, "forbidden"), publisher.ErrForbidden},
		"503": {problem(503, "directory"), publisher.ErrDirectory}, "lost": {func(w http.ResponseWriter, r *http.Request) { hijacked(w, r).Close() }, publisher.ErrUnknown},
		"200": {says(200, "", ""), publisher.ErrUnknown}, "409 of another kind": {problem(409, "conflict"), nil}, "409 of a proxy": {says(409, "", ""), nil},
	} {
		server := testutil.Serve(t, test.answer)
		err := inError(t, newClient(t, publisher.Options{}).Join(context10(t), addressOf(server), "g"))
		if err == nil || test.want != nil && !errors.Is(err, test.want) || test.want == nil && errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := newClient(t, publisher.Options{})
	for _, address := range []string{"", "x", id, sealedID, "http://169.254.169.254/ws/@connections/" + id} {
		if err := inError(t, c.Join(context10(t), address, "g")); !errors.Is(err, publisher.ErrAddress) {
			t.Errorf("%q: %v", address, err)
		}
	}
}
