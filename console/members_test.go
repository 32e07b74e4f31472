package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

// members is the answer to who is there.
type members struct {
	Members []struct {
		Handle, ID, Label, Path string
		MemberSince, Since      int64
		Pending                 *int
	}
	Total  int
	Detail string
}

func (s *site) members(body string) members {
	s.t.Helper()
	w := s.post("/members", body)
	var m members
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || w.Code != http.StatusOK {
		s.t.Fatalf("%s: %d %s: %v", body, w.Code, w.Body, err)
	}
	return m
}

// join connects a client of a user, in groups.
func (s *site) join(user string, groups ...string) (client *testutil.Client, id string) {
	s.t.Helper()
	return s.connect(testutil.Options{Path: "/?" + url.Values{"user": {user}, "group": groups}.Encode()})
}

// asJSON is a request's body, whatever is in the name.
func asJSON(kind, name, more string) string {
	encoded, _ := json.Marshal(map[string]string{kind: name})
	return strings.TrimSuffix(string(encoded), "}") + more + "}"
}

// strange are names that the library allows, and that a page could get wrong.
var strange = []string{
	`<img src=x onerror=alert(1)>`, `"'&quot;` + "`", "\u202egnp.exe", "مرحبا", " a ", "..", "%2F", "a\u2028b", strings.Repeat("é", 128), "🏳️‍🌈",
}

func TestMembers(t *testing.T) {
	for name, keys := range map[string]*wspush.Cluster{"alone": nil, "in a cluster": {Keys: [][]byte{testutil.Key("a")}, Address: "http://127.0.0.1:1"}} {
		t.Run(name, func(t *testing.T) {
			opts := &wspush.WorkerOptions{Cluster: keys, Listen: "127.0.0.1:0"}
			if keys == nil {
				opts = &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.invalid"}}
			}
			s := newSiteWith(t, nil, opts)
			_, one := s.join("ann", "room", "other")
			_, two := s.join("ann")
			_, three := s.join("bob", "room")
			for _, tt := range []struct {
				body string
				want []string
			}{
				{`{"user":"ann"}`, []string{one, two}},
				{`{"user":"bob"}`, []string{three}},
				{`{"group":"room"}`, []string{one, three}},
				{`{"group":"other"}`, []string{one}},
				{`{"user":"room"}`, nil},
				{`{"user":"Ann"}`, nil},
				{`{"group":"ann"}`, nil},
			} {
				m := s.members(tt.body)
				var got []string
				for _, row := range m.Members {
					if row.Handle == "" || row.MemberSince < row.Since || row.Pending == nil || !strings.HasPrefix(row.Path, "/") {
						t.Errorf("%s: %+v", tt.body, row)
					}
					got = append(got, row.ID)
				}
				var want []string
				for _, id := range tt.want {
					want = append(want, id[:8])
				}
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) || m.Total != len(want) || m.Detail != "" || m.Members == nil {
					t.Errorf("%s: %+v, want %s", tt.body, m, want)
				}
			}
			// What is told leads to the connection, and has no whole ID in it, sealed or not.
			w := s.post("/members", `{"user":"bob"}`)
			conn, _ := s.worker.Conn(three)
			if body := w.Body.String(); strings.Contains(body, three) || keys != nil && strings.Contains(body, conn.SealedID()) {
				t.Errorf("the answer has the whole ID: %s", body)
			}
			handle := s.members(`{"user":"bob"}`).Members[0].Handle
			if w := s.post("/disconnect", `{"connection":"`+handle+`","code":1000}`); w.Code != http.StatusOK {
				t.Errorf("by the handle of a member: %d %s", w.Code, w.Body)
			}
		})
	}
}

// Names are taken as they are.
func TestStrangeNames(t *testing.T) {
	s := newSite(t, nil)
	for i, name := range strange {
		_, id := s.join(name, name, fmt.Sprint(i))
		for _, kind := range []string{"user", "group"} {
			if m := s.members(asJSON(kind, name, "")); m.Total != 1 || m.Members[0].ID != id[:8] {
				t.Errorf("%s %q: %+v", kind, name, m)
			}
			runes := []rune(name)
			if m := s.members(asJSON(kind, string(runes[:len(runes)-1])+"x", "")); m.Total != 0 {
				t.Errorf("another than %s %q: %+v", kind, name, m)
			}
		}
	}
	p := s.open()
	p.until("the connections", func(update) bool { return len(p.order) == len(strange) })
	for seq, r := range slices.Collect(maps.Values(p.rows)) {
		u := p.ask(fmt.Sprintf(`{"seq":%d,"watch":%q}`, seq+1, r.Handle))
		if u.Watched == nil || !slices.Contains(strange, u.Watched.User) || !slices.Contains(u.Watched.Groups.Names, u.Watched.User) ||
			u.Watched.Groups.Total != 2 || !strings.HasPrefix(u.Watched.User, strings.TrimSuffix(r.Label, "…")) {
			t.Errorf("%+v, and in the list %+v", u.Watched, r)
		}
	}
}

// The groups of the watched connection come when they have changed, and not with each update.
func TestWatchedGroups(t *testing.T) {
	s := newSite(t, nil)
	_, id := s.join("ann", "b", "a")
	p := s.open()
	p.until("the connection", func(update) bool { return len(p.order) == 1 })
	watch := `,"watch":"` + p.handleOf(id) + `"}`
	told := func(u update, want ...string) {
		t.Helper()
		if g := u.Watched.Groups; g == nil || !slices.Equal(g.Names, want) || g.Total != len(want) {
			t.Errorf("%+v, want %s", g, want)
		}
	}
	told(p.ask(`{"seq":1`+watch), "a", "b")
	if u := p.ask(`{"seq":2` + watch); u.Watched.Groups != nil || u.Watched.User != "ann" {
		t.Errorf("again: %+v", u.Watched)
	}
	conn, _ := s.worker.Conn(id)
	if err := conn.Join(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	told(p.until("the groups", func(u update) bool { return u.Watched.Groups != nil }), "a", "b", "c")
	p.ask(`{"seq":3}`)
	told(p.ask(`{"seq":4`+watch), "a", "b", "c")
}

// However many groups there are, and members, at most 1000 are listed, and all are counted.
func TestManyMembers(t *testing.T) {
	s := newSiteWith(t, nil, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.invalid"}, MaxGroups: -1})
	_, id := s.join("ann")
	conn, _ := s.worker.Conn(id)
	for i := range 1003 {
		if err := conn.Join(t.Context(), fmt.Sprintf("%05d", i)); err != nil {
			t.Fatal(err)
		}
	}
	p := s.open()
	p.until("the connection", func(update) bool { return len(p.order) == 1 })
	u := p.ask(`{"seq":1,"watch":"` + p.handleOf(id) + `"}`)
	if g := u.Watched.Groups; len(g.Names) != 1000 || g.Total != 1003 || g.Names[0] != "00000" {
		t.Errorf("%d of %d groups", len(g.Names), g.Total)
	}
	for range 1001 {
		s.join("", "crowd")
	}
	if m := s.members(`{"group":"crowd"}`); len(m.Members) != 1000 || m.Total != 1001 {
		t.Errorf("%d of %d members", len(m.Members), m.Total)
	}
}

// Without Label, the page shows and finds a connection by its user.
func TestLabelIsUser(t *testing.T) {
	for name, opts := range map[string]*console.Options{"ann": nil, "client": {Label: func(*wspush.Conn) string { return "client" }}} {
		s := newSite(t, opts)
		_, id := s.join("ann")
		s.join("bob")
		p := s.open()
		p.until("the connections", func(update) bool { return len(p.order) == 2 })
		if u := p.ask(`{"seq":1,"filter":"ANN"}`); u.Matches != 1 || !slices.Equal(p.shown(), []string{id[:8]}) || p.rows[p.order[0]].Label != name {
			t.Errorf("%s: %+v", p.shown(), p.rows)
		}
	}
}

// Totals have the users and groups, and no name.
func TestTotalsOfUsers(t *testing.T) {
	s := newSite(t, nil)
	client, _ := s.join("secret-ann", "secret-a", "secret-b")
	go read(client)
	s.join("")
	for _, body := range []string{`{"user":"secret-ann","text":"x"}`, `{"group":"secret-a","text":"x"}`, `{"group":"secret-b","text":"x"}`} {
		if w := s.post("/push", body); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	p := s.open()
	u := p.next()
	got := map[string]uint64{}
	for _, section := range u.Totals {
		if section.Title == "Users and groups" {
			for _, total := range section.Of {
				got[total.Name] = total.N
			}
		}
		if strings.Contains(fmt.Sprint(section), "secret") {
			t.Errorf("a name is in the totals: %v", section)
		}
	}
	want := map[string]uint64{"users now": 1, "groups now": 2, "memberships now": 2, "pushes to users": 1, "pushes to groups": 2}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// With several workers, the page sees the members of all, and is told when one of the workers is silent.
func TestMembersOfOthers(t *testing.T) {
	listen := func() net.Listener {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	here, there, dead := listen(), listen(), listen()
	dead.Close()
	var peers atomic.Pointer[[]string]
	peers.Store(&[]string{here.Addr().String(), there.Addr().String()})
	team := func(l net.Listener) *site {
		return newSiteWith(t, nil, &wspush.WorkerOptions{Listener: l, Cluster: &wspush.Cluster{
			Keys:  [][]byte{testutil.Key("team")},
			Peers: func(context.Context) ([]string, error) { return *peers.Load(), nil },
		}})
	}
	s, other := team(here), team(there)
	_, own := s.join("ann", "room")
	far, farID := other.join("ann", "room")
	go read(far)
	var m members
	testutil.Eventually(t, "it is known who is there", func() bool {
		m = s.members(`{"user":"ann"}`)
		return m.Total == 2 && m.Detail == ""
	})
	for _, row := range m.Members {
		switch {
		case row.Handle == "" && (row.ID != "" || row.Label != "" || row.Path != ""):
			t.Errorf("something is told of another worker's connection: %+v", row)
		case row.Handle != "" && row.ID != own[:8]:
			t.Errorf("%+v is no connection of this worker", row)
		}
	}
	if a := s.all("/disconnect", `{"group":"room","code":1000}`); a.Says[0] != "2 connections have been closed." {
		t.Errorf("%+v", a)
	}
	if _, live := other.worker.Conn(farID); live {
		t.Error("the other worker's connection is open")
	}
	if m := s.members(`{"user":"ann"}`); m.Total != 0 || m.Detail != "" {
		t.Errorf("after the disconnect: %+v", m)
	}

	// A third one, of which nobody knows whether it has her.
	lost := listen()
	peers.Store(&[]string{lost.Addr().String(), dead.Addr().String()})
	doubtful := team(lost)
	client, _ := doubtful.join("bob")
	go read(client)
	if m := doubtful.members(`{"user":"ann"}`); m.Total != 0 || m.Detail == "" {
		t.Errorf("nobody, with a silent worker: %+v", m)
	}
	if m := doubtful.members(`{"user":"bob"}`); m.Total != 1 || m.Detail == "" {
		t.Errorf("one, with a silent worker: %+v", m)
	}
	a := doubtful.all("/push", `{"user":"ann","text":"x"}`)
	if text := strings.Join(a.Says, " "); a.Outcome != "failed" || strings.Contains(text, "Nobody") || !strings.Contains(text, "Nothing was written.") {
		t.Errorf("a push to nobody, with a silent worker: %+v", a)
	}
	a = doubtful.all("/push", `{"user":"bob","text":"x"}`)
	if a.Outcome != "partly" || a.Says[0] != "1 client has read it." || a.Says[len(a.Says)-1] != "There may be clients that are not counted here." {
		t.Errorf("a push to one, with a silent worker: %+v", a)
	}
	if text := strings.Join(a.Says, " "); !strings.Contains(text, "1 client or silent worker did not get it, and will not: the worker cannot be reached.") {
		t.Errorf("a push to one, with a silent worker: %s", text)
	}
	a = doubtful.all("/disconnect", `{"user":"bob","code":1000}`)
	if a.Outcome != "partly" || a.Says[0] != "1 connection has been closed." || len(a.Says) != 3 {
		t.Errorf("a disconnect, with a silent worker: %+v", a)
	}
}
