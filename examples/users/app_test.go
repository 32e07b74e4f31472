package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// browser is one that is logged in, or not.
type browser struct {
	t    *testing.T
	page string
	http http.Client
}

func newBrowser(t *testing.T, page string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	// A transport of its own, since what is kept open of the default one would count as left over.
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t, page, http.Client{Jar: jar, Transport: transport}}
}

// logIn returns a browser in which somebody is logged in.
func logIn(t *testing.T, page, user, group string) *browser {
	t.Helper()
	b := newBrowser(t, page)
	if status, body := b.post("/login", url.Values{"as": {user}, "group": {group}}); status != http.StatusOK {
		t.Fatalf("login: %d %s", status, body)
	}
	return b
}

func (b *browser) do(r *http.Request) (status int, body string) {
	b.t.Helper()
	resp, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Error(err)
	}
	return resp.StatusCode, string(all)
}

func (b *browser) request(method, path string, body io.Reader) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.page+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *browser) get(path string) (int, string) {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, path, nil))
}

func (b *browser) post(path string, form url.Values) (int, string) {
	b.t.Helper()
	r := b.request(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

// who returns the people there, as NAME×CONNECTIONS.
func (b *browser) who() string {
	b.t.Helper()
	status, body := b.get("/who")
	if status != http.StatusOK {
		return fmt.Sprint(status, " ", body)
	}
	var answer struct {
		People     []person
		IsComplete bool
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		b.t.Errorf("%v: %s", err, body)
	}
	var all []string
	if !answer.IsComplete {
		all = append(all, "perhaps")
	}
	for _, p := range answer.People {
		if p.Since.IsZero() {
			b.t.Errorf("%+v", p)
		}
		all = append(all, fmt.Sprintf("%s×%d", p.User, p.Connections))
	}
	return strings.Join(all, " ")
}

// awaitWho waits until these people are there.
func (b *browser) awaitWho(want string) {
	b.t.Helper()
	var got string
	defer func() {
		if got != want {
			b.t.Errorf("there are %s, want %s", got, want)
		}
	}()
	testutil.Eventually(b.t, "who is there: "+want, func() bool { got = b.who(); return got == want })
}

// greeting is what the page is told first.
type greeting struct{ User, Group, Token, PushURL string }

// open opens a tab.
func (b *browser) open() (*testutil.Client, greeting) {
	b.t.Helper()
	header := http.Header{"Origin": {b.page}}
	for _, c := range b.http.Jar.Cookies(b.request(http.MethodGet, "/", nil).URL) {
		header.Add("Cookie", c.String())
	}
	return dial(b.t, b.page, "/ws", header)
}

func dial(t *testing.T, page, path string, header http.Header) (*testutil.Client, greeting) {
	t.Helper()
	// Less than the interval of the pings, so that a test that waits for a message in vain ends.
	c := testutil.Dial(t, page, testutil.Options{Path: path, Header: header, Timeout: 20 * time.Second})
	var g greeting
	if err := json.Unmarshal([]byte(c.Text()), &g); err != nil {
		t.Fatal(err)
	}
	return c, g
}

// visit opens a tab as the page does, with wspush.js; with resume it comes back.
func (b *browser) visit(resume string) *testutil.Page {
	b.t.Helper()
	header := http.Header{"Origin": {b.page}}
	for _, c := range b.http.Jar.Cookies(b.request(http.MethodGet, "/", nil).URL) {
		header.Add("Cookie", c.String())
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.page, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	return testutil.Visit(b.t, conn, testutil.Options{Path: "/ws", Header: header}, resume)
}

// next returns the next message that is not changed.
func next(c *testutil.Client) string {
	for {
		if text := c.Text(); text != changed {
			return text
		}
	}
}

// pushAs pushes as the page's curl command does.
func pushAs(t *testing.T, page string, g greeting, token, target, body string) (status int, answer string) {
	t.Helper()
	at := g.PushURL
	if at == "" {
		at = page + "/ws"
	}
	b := newBrowser(t, at)
	r := b.request(http.MethodPost, "/"+target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl -d
	return b.do(r)
}

// everything is what the example can do. All pages are of the same cluster.
func everything(t *testing.T, pages ...string) {
	t.Helper()
	page := func(i int) string { return pages[i%len(pages)] }
	ann, alsoAnn := logIn(t, page(0), "ann", "lobby"), logIn(t, page(1), "ann", "lobby")
	tab, g := ann.open()
	if g.User != "ann" || g.Group != "lobby" || g.Token != "secret" {
		t.Fatalf("%+v", g)
	}
	if text := tab.Text(); text != changed { // it has come itself
		t.Errorf("%q", text)
	}
	second, _ := ann.open()
	third, _ := alsoAnn.open()
	bob, _ := dial(t, page(2), "/ws?as=bob+%3Cb%3E&group=lobby", nil)
	cat, _ := dial(t, page(0), "/ws?as=cat", nil)
	ann.awaitWho("ann×3 bob <b>×1")
	alone := logIn(t, page(1), "cat", "")
	alone.awaitWho("cat×1")

	// By curl, through each worker, with the token and without.
	for i := range pages {
		text := fmt.Sprint("by curl ", i)
		status, answer := pushAs(t, page(i), pushURLOf(t, page(i)), "secret", "@users/ann", text)
		if status != http.StatusOK || !strings.Contains(answer, `"written":3,`) || !strings.Contains(answer, `"complete":true`) {
			t.Errorf("%d %s", status, answer)
		}
		for _, c := range []*testutil.Client{tab, second, third} {
			if got := next(c); got != text {
				t.Errorf("%q, want %q", got, text)
			}
		}
	}
	if status, answer := pushAs(t, page(0), g, "wrong", "@users/ann", "no"); status != http.StatusUnauthorized {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := pushAs(t, page(0), g, "secret", "@users/dan", "no"); status != http.StatusGone {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := pushAs(t, page(0), g, "secret", "@users/bob%20%3Cb%3E", "only bob"); status != http.StatusOK || !strings.Contains(answer, `"written":1,`) {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := pushAs(t, page(0), g, "secret", "@groups/lobby", "all"); status != http.StatusOK || !strings.Contains(answer, `"written":4,`) {
		t.Errorf("%d %s", status, answer)
	}
	// Clients without the page are told nothing that they do not understand.
	bob.Expect(testutil.Text, "only bob")
	bob.Expect(testutil.Text, "all")
	// From the page.
	if status, answer := alone.post("/push", url.Values{"to": {"ann"}, "text": {"from the page"}}); status != http.StatusOK || answer != `{"buffered":0,"written":3}` {
		t.Errorf("%d %s", status, answer)
	}
	for _, c := range []*testutil.Client{tab, second, third} {
		if got, then := next(c), next(c); got != "all" || then != "from the page" {
			t.Errorf("%q, %q", got, then)
		}
	}
	if status, answer := alone.post("/push", url.Values{"to": {"dan"}, "text": {"no"}}); status != http.StatusGone {
		t.Errorf("%d %s", status, answer)
	}

	// The page is told when somebody leaves.
	bob.SendClose(1000, "")
	if text := tab.Text(); text != changed {
		t.Errorf("%q", text)
	}
	ann.awaitWho("ann×3")

	// Ann is logged out everywhere, and nobody else is.
	if status, answer := alsoAnn.post("/logout-everywhere", nil); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	for _, c := range []*testutil.Client{tab, second, third} {
		if code, reason := c.AwaitClose(); code != loggedOut || reason != "logged out" {
			t.Errorf("%d %q", code, reason)
		}
	}
	if status, _ := alsoAnn.get("/who"); status != http.StatusNoContent {
		t.Errorf("the cookie is still there: %d", status)
	}
	if status, _ := ann.post("/logout", nil); status != http.StatusOK {
		t.Error(status)
	}
	if status, _ := ann.get("/who"); status != http.StatusNoContent {
		t.Errorf("the cookie is still there: %d", status)
	}
	alone.awaitWho("cat×1")
	if status, answer := pushAs(t, page(0), g, "secret", "@users/ann", "no"); status != http.StatusGone {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := pushAs(t, page(0), g, "secret", "@users/cat", "still here"); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	cat.Expect(testutil.Text, "still here")
}

// pushURLOf asks where pushes go at a page.
func pushURLOf(t *testing.T, page string) greeting {
	t.Helper()
	c, g := dial(t, page, "/ws?as=nobody", nil)
	c.Close()
	return g
}

func TestOneProcess(t *testing.T) {
	testutil.NoLeak(t)
	page, _ := start(t, "-token", "secret")
	everything(t, page)
}

func TestThreeWorkers(t *testing.T) {
	testutil.NoLeak(t)
	page, _ := start(t, "-token", "secret", "-workers", "3")
	everything(t, page)
}

// A page that has lost its WebSocket counts as there, and gets what was pushed meanwhile when it is back, but only as the same user.
func TestPageComesBack(t *testing.T) {
	testutil.NoLeak(t)
	page, _ := start(t, "-token", "secret")
	ann, bob := logIn(t, page, "ann", "lobby"), logIn(t, page, "bob", "lobby")
	tab := ann.visit("")
	if greeting := tab.Next(); !strings.Contains(greeting, `"user":"ann"`) || tab.Hello.Address != "" {
		t.Fatalf("%s after %s", greeting, tab.Hello.Raw)
	}
	tab.Want(changed) // it has come itself

	tab.Close()
	var pushed []string
	testutil.Eventually(t, "that she is away", func() bool {
		pushed = append(pushed, fmt.Sprint("message ", len(pushed)))
		status, answer := bob.post("/push", url.Values{"to": {"ann"}, "text": {pushed[len(pushed)-1]}})
		if status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
		return answer == `{"buffered":1,"written":0}`
	})
	bobs, _ := bob.open() // of which she is not told
	bob.awaitWho("ann×1 bob×1")
	bobs.SendClose(1000, "")
	bob.awaitWho("ann×1")

	for _, tt := range []struct {
		as   *browser
		want string
	}{{bob, "forbidden"}, {newBrowser(t, page), "unauthorized"}} {
		if got := tt.as.visit(tab.Ticket()); got.Hello.Refused != tt.want {
			t.Errorf("with her ticket, %s, want %q", got.Hello.Raw, tt.want)
		}
	}
	tab = ann.visit(tab.Ticket())
	if !tab.Hello.Resumed || tab.Hello.Missed != 0 {
		t.Fatalf("%s", tab.Hello.Raw)
	}
	tab.Want(pushed...)
	bob.post("/push", url.Values{"to": {"ann"}, "text": {"next"}})
	tab.Want("next")                                       // she asks who is there by herself: bob's coming and going was not kept for her
	cat, _ := dial(t, page, "/ws?as=cat&group=lobby", nil) // she is told again
	tab.Want(changed)
	cat.Close()
	tab.Want(changed)

	// Who has logged in anew, with another group, still leaves the one that the tab is in.
	other := logIn(t, page, "ann", "elsewhere")
	tab.Close()
	watcher := bob.visit("")
	watcher.Next()
	watcher.Want(changed)
	tab = other.visit(tab.Ticket())
	if !tab.Hello.Resumed {
		t.Fatalf("%s", tab.Hello.Raw)
	}
	tab.SendClose(1000, "")
	watcher.Want(changed)
	bob.awaitWho("bob×1")
}

// One who does not come back is there only for so long.
func TestPageVanishes(t *testing.T) {
	testutil.NoLeak(t)
	page, _ := start(t, "-token", "secret", "-resume", "50ms")
	ann, bob := logIn(t, page, "ann", "lobby"), logIn(t, page, "bob", "lobby")
	watcher := bob.visit("")
	watcher.Next()
	watcher.Want(changed)
	tab := ann.visit("")
	tab.Next()
	watcher.Want(changed)
	tab.Close()
	watcher.Want(changed)
	bob.awaitWho("bob×1")
	tab = ann.visit(tab.Ticket())
	if tab.Hello.Resumed || tab.Hello.Why != "expired" {
		t.Errorf("%s", tab.Hello.Raw)
	}
}

// Processes that share an engine and a key are one cluster. For the first 15 s nobody can know whether there are others on a new engine.
func TestProcesses(t *testing.T) {
	key := hex.EncodeToString(testutil.Key("users"))
	for _, tt := range []struct {
		name   string
		engine func(*testing.T) string
	}{{"redis", startRedis}, {"nats", startNATS}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-token", "secret", "-" + tt.name, tt.engine(t), "-key", key}
			var pages []string
			for _, workers := range []string{"1", "1", "2"} {
				page, _ := start(t, append(args, "-workers", workers)...)
				pages = append(pages, page)
			}
			everything(t, pages...)
		})
	}
}

// Who does not know the key is no part of the cluster.
func TestOtherKey(t *testing.T) {
	t.Parallel()
	engine := startRedis(t)
	one, _ := start(t, "-token", "secret", "-redis", engine)
	other, _ := start(t, "-token", "secret", "-redis", engine)
	dial(t, one, "/ws?as=ann&group=lobby", nil)
	_, g := dial(t, other, "/ws?as=bob&group=lobby", nil)
	logIn(t, one, "ann", "lobby").awaitWho("ann×1")
	logIn(t, other, "bob", "lobby").awaitWho("bob×1")
	if status, answer := pushAs(t, other, g, "secret", "@users/ann", "no"); status == http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
}

// Without its engine the program starts all the same: clients connect, and it is not known who is there.
func TestEngineDown(t *testing.T) {
	for _, engine := range []string{"-redis=redis://127.0.0.1:1", "-nats=nats://127.0.0.1:1"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			page, _ := start(t, "-token", "secret", engine)
			ann := logIn(t, page, "ann", "lobby")
			_, g := ann.open()
			if got := ann.who(); got != "perhaps" {
				t.Error(got)
			}
			if status, answer := pushAs(t, page, g, "secret", "@users/ann", "no"); status != http.StatusServiceUnavailable {
				t.Errorf("%d %s", status, answer)
			}
			if status, answer := ann.post("/logout-everywhere", nil); status != http.StatusServiceUnavailable {
				t.Errorf("%d %s", status, answer)
			}
		})
	}
}

// The default token is a new one each time, and clients are closed when the program stops.
func TestStop(t *testing.T) {
	testutil.NoLeak(t)
	tokens := make(map[string]bool)
	for _, workers := range []string{"1", "3"} {
		page, stop := start(t, "-workers", workers)
		c, g := dial(t, page, "/ws?as=ann", nil)
		if len(g.Token) < 26 || tokens[g.Token] {
			t.Errorf("%q", g.Token)
		}
		tokens[g.Token] = true
		stopped := make(chan error)
		go func() { stopped <- stop() }()
		if code, _ := c.AwaitClose(); code != 1012 {
			t.Error(code)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}

// Wrong names, no name, and pages of other sites.
func TestRefused(t *testing.T) {
	testutil.NoLeak(t)
	page, _ := start(t, "-token", "secret")
	long := strings.Repeat("ä", 129) // 258 bytes
	for _, tt := range []struct{ user, group string }{
		{"", "lobby"}, {"a/b", ""}, {"a\nb", ""}, {"a\xff", ""}, {long, ""}, {"ann", "a/b"}, {"ann", "\x00"}, {"ann", long}, {"ann", long[:248]},
	} {
		form := url.Values{"as": {tt.user}, "group": {tt.group}}
		b := newBrowser(t, page)
		if status, _ := b.post("/login", form); status != http.StatusBadRequest {
			t.Errorf("login %q: %d", tt, status)
		}
		if _, resp, err := testutil.TryDial(t, page, testutil.Options{Path: "/ws?" + form.Encode()}); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%q: %v", tt, resp)
		}
		// A cookie that is no login's.
		header := http.Header{"Cookie": {cookieName + "=" + form.Encode()}}
		if _, resp, err := testutil.TryDial(t, page, testutil.Options{Header: header}); err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %v", tt, resp)
		}
	}
	for _, header := range []http.Header{{}, {"Cookie": {cookieName + "=%zz"}}, {"Cookie": {cookieName + "="}}} {
		if _, resp, err := testutil.TryDial(t, page, testutil.Options{Header: header}); err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: %v", header, resp)
		}
	}
	nobody := newBrowser(t, page)
	for _, path := range []string{"/push", "/logout-everywhere"} {
		if status, _ := nobody.post(path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := nobody.post("/login", url.Values{"as": {strings.Repeat("a", 100_000)}}); status != http.StatusBadRequest {
		t.Error(status)
	}

	// All that a name may have.
	hard := "ä \"'<&;=+%,." + strings.Repeat("x", 243)
	ann := logIn(t, page, hard, "..")
	c, g := ann.open()
	if g.User != hard || g.Group != ".." {
		t.Errorf("%+v", g)
	}
	ann.awaitWho(hard + "×1")
	for _, to := range []string{"", "a/b", "\n"} {
		if status, _ := ann.post("/push", url.Values{"to": {to}, "text": {"x"}}); status != http.StatusBadRequest {
			t.Errorf("%q: %d", to, status)
		}
	}
	if status, answer := ann.post("/push", url.Values{"to": {hard}, "text": {strings.Repeat("x", 1000)}}); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	if got := next(c); len(got) != 1000 {
		t.Errorf("%q", got)
	}
	for _, path := range []string{"/login", "/logout", "/logout-everywhere", "/push"} {
		r := ann.request(http.MethodPost, path, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if status, _ := ann.do(r); status != http.StatusForbidden {
			t.Errorf("%s: %d", path, status)
		}
	}
	ann.awaitWho(hard + "×1")
	if _, resp, err := testutil.TryDial(t, page, testutil.Options{Path: "/ws?as=ann", Header: http.Header{"Origin": {"https://evil.example"}}}); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("%v", resp)
	}
}

func TestPage(t *testing.T) {
	testutil.NoLeak(t)
	at, _ := start(t)
	b := newBrowser(t, at)
	resp, err := b.http.Get(at + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(body, page) || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" ||
		!strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "default-src 'none';") {
		t.Errorf("%v %v", resp, err)
	}
	for _, path := range []string{"/nowhere", "/who/ann"} {
		if status, _ := b.get(path); status != http.StatusNotFound {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, script := b.get("/wspush.js"); status != http.StatusOK || !strings.Contains(script, "export function connect") {
		t.Errorf("%d %.40s", status, script)
	}
	if status, _ := b.get("/login"); status != http.StatusMethodNotAllowed {
		t.Error(status)
	}
}
