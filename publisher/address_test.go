package publisher_test

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
	"github.com/wspush/wspush/publisher"
)

// Both forms become the path form.
func TestAddresses(t *testing.T) {
	c := newClient(t, publisher.Options{Allow: func(*url.URL) bool { return true }})
	for address, want := range map[string]string{
		"http://" + id + "@10.0.0.5:48775/ws":                     "http://10.0.0.5:48775/ws/@connections/" + id,
		"HTTP://" + id + "@Worker-1.Example.COM/ws/":              "http://worker-1.example.com/ws/@connections/" + id,
		"https://" + id + "@[2001:DB8::1]:443/":                   "https://[2001:db8::1]/@connections/" + id,
		"https://" + id + "@[2001:db8::1]:80":                     "https://[2001:db8::1]:80/@connections/" + id,
		"http://" + sealedID + "@[::ffff:10.0.0.5]:80/ws":         "http://10.0.0.5/ws/@connections/" + sealedID,
		"http://h/@connections/" + strings.ToUpper(id):            "http://h/@connections/" + strings.ToUpper(id),
		"http://h/a%2fb%2C;x=1/%C3%A9/@connections/" + sealedID:   "http://h/a%2fb%2C;x=1/%C3%A9/@connections/" + sealedID,
		"http://h/ws/%40connections/" + id:                        "http://h/ws/@connections/" + id,
		"http://h/a//b/%2e%2e%2e/@connections/" + id:              "http://h/a//b/%2e%2e%2e/@connections/" + id,
		"http://h/x%2F@connections/@connections/" + id:            "http://h/x%2F@connections/@connections/" + id,
		"http://" + id + "@h/a%252e%252e/ws":                      "http://h/a%252e%252e/ws/@connections/" + id,
		"http://" + id + "@a/ws, http://b/ws/@connections/" + id2: "http://a/ws/@connections/" + id + " http://b/ws/@connections/" + id2,
	} {
		requests, err := c.Requests(address)
		if inError(t, err) != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		var got []string
		for _, r := range requests {
			got = append(got, r.URL.Scheme+"://"+r.Host+r.URL.RequestURI())
			if r.Host != r.URL.Host || r.URL.User != nil || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" {
				t.Errorf("%s: %+v", address, r)
			}
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}

// Whatever else comes is refused, and nobody is asked.
func TestHostileAddresses(t *testing.T) {
	var asked atomic.Int64
	server := testutil.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	port := server[strings.LastIndexByte(server, ':'):]
	at := "127.0.0.1" + port
	c := newClient(t, publisher.Options{Allow: func(*url.URL) bool { return true }})
	form := "/ws/@connections/" + id
	for name, address := range map[string]string{
		"empty":                     "",
		"no URL":                    id,
		"relative":                  form,
		"no scheme":                 "//" + at + form,
		"ftp":                       "ftp://" + at + form,
		"ws":                        "ws://" + at + form,
		"file":                      "file:///ws/@connections/" + id,
		"unix":                      "unix:///var/run/docker.sock" + form,
		"opaque":                    "http:" + at + form,
		"one slash":                 "http:/" + at + form,
		"three slashes":             "http:///" + at + form,
		"no host":                   "http://" + form,
		"user and no host":          "http://" + id + "@/ws",
		"port and no host":          "http://:80" + form,
		"neither form":              "http://" + at + "/ws",
		"arbitrary path":            "http://" + at + "/admin/delete?id=" + id,
		"no ID":                     "http://" + at + "/ws/@connections/",
		"no user":                   "http://@" + at + "/ws",
		"something after the ID":    "http://" + at + form + "/x",
		"slash after the ID":        "http://" + at + form + "/",
		"no UUID":                   "http://" + at + "/ws/@connections/" + id[:35],
		"UUID in braces":            "http://" + at + "/ws/@connections/{" + id + "}",
		"user that is no ID":        "http://admin@" + at + "/ws",
		"escaped ID":                "http://" + at + "/ws/@connections/%31" + id[1:],
		"escaped user":              "http://%31" + id[1:] + "@" + at + "/ws",
		"broken sealed ID":          "http://" + at + "/ws/@connections/v1.",
		"sealed ID with a slash":    "http://" + at + "/ws/@connections/v1.a/b",
		"sealed ID with an escape":  "http://" + at + "/ws/@connections/v1.a%2F",
		"password":                  "http://" + id + ":secret@" + at + "/ws",
		"empty password":            "http://" + id + ":@" + at + "/ws",
		"two users":                 "http://" + id + "@evil.example@" + at + "/ws",
		"user in the path form":     "http://" + id2 + "@" + at + form,
		"user and the marker":       "http://" + id + "@" + at + "/ws/@connections",
		"user, escaped marker":      "http://" + id + "@" + at + "/ws/%40connections/" + id,
		"user, very escaped marker": "http://" + id + "@" + at + "/ws/%40c%6Fnnections/" + id,
		"two markers":               "http://" + at + form + "/@connections/" + id,
		"query":                     "http://" + at + form + "?type=binary",
		"empty query":               "http://" + at + form + "?",
		"query for a path":          "http://" + at + "?/@connections/" + id,
		"fragment":                  "http://" + at + form + "#x",
		"empty fragment":            "http://" + at + form + "#",
		"fragment for a path":       "http://" + at + "#/@connections/" + id,
		"backslash":                 "http://" + at + `\ws/@connections/` + id,
		"backslash before the @":    `http://evil.example\@` + at + form,
		"escaped backslash":         "http://" + at + "/a%5cb/@connections/" + id,
		"line feed":                 "http://" + at + "/ws\n/@connections/" + id,
		"CR LF":                     "http://" + at + "/ws HTTP/1.1\r\nX: y/@connections/" + id,
		"escaped CR LF":             "http://" + at + "/ws%0d%0aX:%20y/@connections/" + id,
		"NUL":                       "http://" + at + "/ws\x00/@connections/" + id,
		"escaped NUL":               "http://" + at + "/ws%00/@connections/" + id,
		"DEL":                       "http://" + at + "/ws%7f/@connections/" + id,
		"space":                     "http://" + at + "/w s/@connections/" + id,
		"space in the host":         "http://127.0.0.1 " + port + form,
		"tab":                       "http://" + at + "/ws\t/@connections/" + id,
		"not ASCII":                 "http://" + at + "/wß/@connections/" + id,
		"full-width dots":           "http://127。0。0。1" + port + form,
		"quote":                     "http://" + at + `/w"s/@connections/` + id,
		"zone":                      "http://[fe80::1%25eth0]" + port + form,
		"plain zone":                "http://[fe80::1%eth0]" + port + form,
		"zone of loopback":          "http://[::1%25lo]" + port + form,
		"half an escape":            "http://" + at + "/w%2/@connections/" + id,
		"an escape at the end":      "http://" + id + "@" + at + "/w%",
		"a bad escape":              "http://" + at + "/w%zz/@connections/" + id,
		"a signed escape":           "http://" + at + "/w%+1/@connections/" + id,
		"escape in the host":        "http://127%2e0.0.1" + port + form,
		"port 0":                    "http://127.0.0.1:0" + form,
		"port 65536":                "http://127.0.0.1:65536" + form,
		"empty port":                "http://127.0.0.1:" + form,
		"negative port":             "http://127.0.0.1:-1" + form,
		"port with a plus":          "http://127.0.0.1:+80" + form,
		"port with a zero":          "http://127.0.0.1:080" + form,
		"named port":                "http://127.0.0.1:http" + form,
		"two ports":                 "http://127.0.0.1:80" + port + form,
		"IPv6 without brackets":     "http://::1" + port + form,
		"IPv4 in brackets":          "http://[127.0.0.1]" + port + form,
		"after the brackets":        "http://[::1]x" + port + form,
		"no end of the brackets":    "http://[::1" + form,
		"name in brackets":          "http://[localhost]" + form,
		"127.1":                     "http://127.1" + port + form,
		"decimal":                   "http://2130706433" + port + form,
		"hexadecimal":               "http://0x7f000001" + port + form,
		"hexadecimal, in part":      "http://127.0.0.0x1" + port + form,
		"octal":                     "http://017700000001" + port + form,
		"octal, in part":            "http://0177.0.0.1" + port + form,
		"a very large number":       "http://99999999999999999999999" + port + form,
		"five numbers":              "http://127.0.0.1.1" + port + form,
		"0.0.0.0":                   "http://0.0.0.0" + port + form,
		"::":                        "http://[::]" + port + form,
		"mapped 0.0.0.0":            "http://[::ffff:0.0.0.0]" + port + form,
		"dot at the end":            "http://localhost." + port + form,
		"two dots":                  "http://a..b" + port + form,
		"a long host":               "http://" + strings.Repeat("a.", 130) + "b" + form,
		"dot segment":               "http://" + at + "/./@connections/" + id,
		"dot dot":                   "http://" + at + "/ws/../admin/@connections/" + id,
		"dot dot at the end":        "http://" + id + "@" + at + "/ws/..",
		"escaped dot dot":           "http://" + at + "/ws/%2e%2E/@connections/" + id,
		"half escaped dot dot":      "http://" + at + "/ws/.%2e/@connections/" + id,
		"dot dot, escaped slash":    "http://" + at + "/ws/x%2f..%2f../@connections/" + id,
		"dot dot with a parameter":  "http://" + at + "/ws/..;a=b/@connections/" + id,
		"an empty alternative":      "http://" + at + form + ",",
		"a bad alternative":         "http://" + at + form + ",javascript:alert(1)",
		"17 alternatives":           strings.Repeat("http://"+at+form+",", 16) + "http://" + at + form,
		"long":                      "http://" + at + "/" + strings.Repeat("x", 5000) + "/@connections/" + id,
		"very long":                 strings.Repeat("x", 1<<20),
	} {
		if err := push(t, c, address); !errors.Is(err, publisher.ErrAddress) {
			t.Errorf("%s: got %v", name, err)
		}
		s := c.NewStream()
		if err := inError(t, outcome(s.Push(context10(t), address, publisher.Text, nil))); !errors.Is(err, publisher.ErrAddress) {
			t.Errorf("%s: the stream: %v", name, err)
		}
		_ = s.Close()
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests came through", n)
	}
}

// Whatever is accepted goes to a host that is allowed, to a path that ends in the marker and an ID.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"http://" + id + "@10.0.0.5:48775/ws,http://[::1]/ws/@connections/" + id, "https://good.example/a%2f/@connections/" + sealedID,
		"http://good.example\\@evil/ws/@connections/" + id, "http://" + id + "@good.example/../%2e", "http://0x7f.1/@connections/" + id,
	} {
		f.Add(s)
	}
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	c, err := publisher.New(&publisher.Options{Hosts: []string{"good.example", "[::1]:80"}, Prefixes: []netip.Prefix{prefix}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	f.Fuzz(func(t *testing.T, address string) {
		requests, err := c.Requests(address)
		if err != nil {
			if !errors.Is(err, publisher.ErrAddress) {
				t.Error(err)
			}
			return
		}
		for _, r := range requests {
			u, err := url.ParseRequestURI(r.URL.String()) // as others see it
			if err != nil || u.Host != r.Host || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.EscapedPath() != r.URL.RequestURI() {
				t.Fatalf("%q became %q: %v", address, r.URL, err)
			}
			ip, _ := netip.ParseAddr(u.Hostname())
			if u.Hostname() != "good.example" && u.Host != "[::1]" && !(u.Host == "[::1]:80" && u.Scheme == "https") && !prefix.Contains(ip) {
				t.Errorf("%q goes to %q", address, u.Host)
			}
			path := strings.Split(u.EscapedPath(), "/")
			n := len(path)
			if n < 3 || path[n-2] != "@connections" || !wire.IsID(path[n-1]) && !wire.IsSealedID(path[n-1]) {
				t.Errorf("%q goes to %q", address, u.EscapedPath())
			}
			for segment := range strings.SplitSeq(u.Path, "/") {
				if segment == "." || segment == ".." || strings.ContainsAny(segment, "\\\r\n\x00") {
					t.Errorf("%q goes to %q", address, u.Path)
				}
			}
		}
	})
}
