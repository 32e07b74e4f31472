package publisher_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// answering answers each line of a bulk request with what a function returns for its number, from 1. What is empty breaks the answer off.
func answering(t testing.TB, answer func(n int, line string) string) (server string, lines func() []string) {
	var mu sync.Mutex // guards got
	var got []string
	server = testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("Content-Type", "application/x-ndjson")
		_ = rc.Flush()
		in := bufio.NewReader(r.Body)
		for n := 1; ; n++ {
			line, err := in.ReadString('\n')
			if err != nil {
				_, _ = fmt.Fprintf(w, `{"lines":%d}`+"\n", n-1)
				return
			}
			if strings.TrimSpace(line) == "" { // which means nothing
				n--
				continue
			}
			mu.Lock()
			got = append(got, strings.TrimSpace(line))
			mu.Unlock()
			text := answer(n, line)
			if text == "" {
				_ = rc.SetReadDeadline(time.Now())
				panic(http.ErrAbortHandler)
			}
			_, _ = io.WriteString(w, text+"\n")
			_ = rc.Flush()
		}
	}))
	return server, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}
}

// A line names the user or the group, the excepted, and all else as any line.
func TestStreamLines(t *testing.T) {
	server, lines := answering(t, func(n int, _ string) string {
		return fmt.Sprintf(`{"line":%d,"status":200,%s}`, n, outcomesJSON(1, 0, "", 0, 0, 1, 1, true))
	})
	s := asks(t, server+"/ws").NewStream()
	defer s.Close()
	c := newClient(t, publisher.Options{}) // it has no workers, which does not matter to the stream of another Client
	for _, to := range []*publisher.Recipients{
		c.User(`a"\é<`), c.Group("room").Except(id), c.Group("room").Except(id, sealedID, "http://x.test/ws/@connections/"+id2),
	} {
		out, err := s.PushTo(context10(t), to, publisher.Text, []byte("hi"))
		expectOutcomes(t, "", out, err, counts(publisher.Outcomes{Written: 1}), nil)
	}
	for i, want := range []string{
		`"user":"a\"\\é<","text":"hi"`, `"group":"room","except":"` + id + `","text":"hi"`, `"group":"room","except":["` + id + `","` + sealedID + `","` + id2 + `"],"text":"hi"`,
	} {
		if got := lines(); len(got) != 3 || !strings.Contains(got[i], want) || !json.Valid([]byte(got[i])) {
			t.Errorf("%d: %s, want %s", i, got, want)
		}
	}
}

// Lines to users, groups and connections share a request; each has its own outcomes, in the order in which they finish.
func TestStreamMembersWorker(t *testing.T) {
	w, server := membersWorker(t, wspush.WorkerOptions{})
	const users, messages = 20, 50
	clients, addresses := make([]*testutil.Client, users), make([]string, users)
	for i := range clients {
		clients[i], _, addresses[i] = connect(t, server, fmt.Sprint("user", i), "all")
	}
	c := asks(t, "http://"+w.Addr().String()+"/ws")
	s := c.NewStream()
	type result struct {
		out publisher.Outcomes
		err error
	}
	results := make(chan result, (users+1)*messages)
	done := func(out publisher.Outcomes, err error) { results <- result{out, err} }
	for n := range messages {
		for i := range users {
			if err := s.SendTo(context10(t), c.User(fmt.Sprint("user", i)), publisher.Text, fmt.Append(nil, n), done); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SendTo(context10(t), c.User("nobody"), publisher.Text, fmt.Append(nil, n), done); err != nil {
			t.Fatal(err)
		}
	}
	written, gone := 0, 0
	for range cap(results) {
		r := <-results
		switch {
		case r.err == nil && r.out.Written == 1 && r.out.Complete:
			written++
		case errors.Is(r.err, publisher.ErrGone) && r.out.Complete:
			gone++
		default:
			t.Errorf("%+v, %v", r.out, r.err)
		}
	}
	if written != users*messages || gone != messages {
		t.Errorf("%d written, %d gone", written, gone)
	}
	out, err := s.PushTo(context10(t), c.Group("all"), publisher.Binary, []byte("\xff"))
	expectOutcomes(t, "all", out, err, counts(publisher.Outcomes{Written: users}), nil)
	for _, client := range clients {
		for n := range messages {
			client.Expect(testutil.Text, fmt.Sprint(n))
		}
		client.Expect(testutil.Binary, "\xff")
	}
	if err := streamPush(t, s, addresses[0]); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.PushTo(context10(t), c.Group("all"), publisher.Text, nil); !errors.Is(err, publisher.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// An answer that makes no sense, or does not come, is unknown, and the others are not harmed by one that can be read.
func TestStreamNonsense(t *testing.T) {
	for _, tt := range nonsense() {
		server, _ := answering(t, func(n int, line string) string {
			if strings.Contains(line, "good") {
				return fmt.Sprintf(`{"line":%d,"status":200,%s}`, n, outcomesJSON(1, 0, "", 0, 0, 1, 1, true))
			}
			members := strings.TrimSuffix(strings.TrimPrefix(tt.body, "{"), "}")
			if members = strings.TrimPrefix(members, "null"); members != "" {
				members = "," + members
			}
			return fmt.Sprintf(`{"line":%d,"status":%d%s}`, n, tt.status, members)
		})
		c := asks(t, server)
		s := c.NewStream()
		out, err := s.PushTo(context10(t), c.User("ann"), publisher.Text, []byte("bad"))
		expectOutcomes(t, fmt.Sprint(tt), out, inError(t, err), publisher.Outcomes{}, publisher.ErrUnknown)
		out, err = s.PushTo(context10(t), c.User("ann"), publisher.Text, []byte("good"))
		expectOutcomes(t, fmt.Sprint(tt), out, inError(t, err), counts(publisher.Outcomes{Written: 1}), nil)
		_ = s.Close()
	}
	for name, answer := range map[string]func(n int, line string) string{
		"cut off": func(int, string) string { return "" },
		"no JSON": func(int, string) string { return "x" },
		"204":     func(n int, _ string) string { return fmt.Sprintf(`{"line":%d,"status":204}`, n) },
		"index": func(n int, _ string) string {
			return fmt.Sprintf(`{"line":%d,"index":0,"status":200,%s}`, n, outcomesJSON(1, 0, "", 0, 0, 1, 1, true))
		},
		"huge": func(n int, _ string) string {
			return fmt.Sprintf(`{"line":%d,"status":200,%s,"x":"%s"}`, n, outcomesJSON(1, 0, "", 0, 0, 1, 1, true), strings.Repeat("x", 64<<10))
		},
	} {
		server, lines := answering(t, answer)
		c := asks(t, server)
		s := c.NewStream()
		out, err := s.PushTo(context10(t), c.User("ann"), publisher.Text, nil)
		expectOutcomes(t, name, out, inError(t, err), publisher.Outcomes{}, publisher.ErrUnknown)
		_ = s.Close()
		if got := lines(); len(got) != 1 {
			t.Errorf("%s: sent %q", name, got)
		}
	}
	// And the other way round: counts for one connection are no success.
	server, _ := answering(t, func(n int, _ string) string {
		return fmt.Sprintf(`{"line":%d,"status":200,%s}`, n, outcomesJSON(1, 0, "", 0, 0, 1, 1, true))
	})
	s := asks(t, server+"/ws").NewStream()
	defer s.Close()
	if err := streamPush(t, s, addressOf(server)); !errors.Is(err, publisher.ErrUnknown) {
		t.Errorf("one connection: %v", err)
	}
}

// A refusal of the whole request is the outcome of each line; where nobody listens, the next worker is asked.
func TestStreamMembersRefused(t *testing.T) {
	c := asks(t, testutil.Serve(t, problem(403, "forbidden")))
	s := c.NewStream()
	defer s.Close()
	out, err := s.PushTo(context10(t), c.User("ann"), publisher.Text, nil)
	expectOutcomes(t, "403", out, inError(t, err), publisher.Outcomes{}, publisher.ErrForbidden)

	server, _ := answering(t, func(n int, _ string) string {
		return fmt.Sprintf(`{"line":%d,"status":200,%s}`, n, outcomesJSON(1, 0, "", 0, 0, 1, 1, true))
	})
	c = asks(t, nobody(t), server)
	s2 := c.NewStream()
	defer s2.Close()
	out, err = s2.PushTo(context10(t), c.User("ann"), publisher.Text, nil)
	expectOutcomes(t, "the second", out, inError(t, err), counts(publisher.Outcomes{Written: 1}), nil)

	c = asks(t, nobody(t))
	s3 := c.NewStream()
	defer s3.Close()
	out, err = s3.PushTo(context10(t), c.User("ann"), publisher.Text, nil)
	expectOutcomes(t, "nobody", out, inError(t, err), publisher.Outcomes{}, publisher.ErrUnreachable)
}

// What has no credential is not sent, to whomever it is.
func TestStreamMembersCredential(t *testing.T) {
	refusal := errors.New("no credential today")
	c := newClient(t, publisher.Options{Workers: []string{nobody(t)}, CredentialFunc: func(context.Context) (string, error) { return "", refusal }})
	s := c.NewStream()
	defer s.Close()
	if out, err := s.PushTo(context10(t), c.User("ann"), publisher.Text, nil); !errors.Is(err, refusal) || out.Workers != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if out, err := c.User("ann").Push(context10(t), publisher.Text, nil); !errors.Is(err, refusal) || out.Workers != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}
