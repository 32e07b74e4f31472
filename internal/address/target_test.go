package address

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	const other = "00000000-0000-4000-8000-000000000000"
	for _, tc := range []struct {
		target, user string
		id           string
		lives, not   string // paths at which the connection may live, and at which it may not
		err          error
	}{
		{target: "/ws", user: id, id: id, lives: "/ws", not: "/ / /WS /ws/x /w"},
		{target: "/ws?x=/@connections/" + other, user: id, id: id, lives: "/ws"},
		{target: "/ws/", user: id, id: id, lives: "/ws/"},
		{target: "/", user: id, id: id, lives: "/", not: "/ws //"},
		{target: "/%7ejoe/%2f", user: id, id: id, lives: "/~joe/%2F", not: "/~joe//"},
		{target: "/a,b%2Fc", user: id, id: id, lives: "/a%2Cb%2Fc", not: "/a%2Cb/c"},
		{target: "/ws/@connections/" + id, id: id, lives: "/ws /ws/", not: "/ /w /ws/x"},
		{target: "/ws/%40connections/" + id, id: id, lives: "/ws /ws/"},
		{target: "/ws/@%63onnections/" + id, id: id, lives: "/ws /ws/"},
		{target: "/ws/%40%63onnections/", err: ErrNoForm},
		{target: "/@connections/" + id, id: id, lives: "/", not: "/ws"},
		{target: "//@connections/" + id, id: id, lives: "//", not: "/ws"},
		{target: "/a,b/@connections/" + id, id: id, lives: "/a%2Cb"},
		{target: "/a%2Fb/@connections/" + id, id: id, lives: "/a%2Fb", not: "/a/b"},
		{target: "/ws/@connections/" + id, user: other, id: id, lives: "/ws"},
		{target: "/ws/@connections/" + strings.ToUpper(id), id: strings.ToUpper(id), lives: "/ws"},
		{target: "/ws", err: ErrNoID},
		{target: "/ws/connections/" + id, err: ErrNoID},
		{target: "/ws/@connections", err: ErrNoForm},
		{target: "/ws/@connections/", err: ErrNoForm},
		{target: "/ws/@connections/" + id + "/", err: ErrNoForm},
		{target: "/ws", user: "12", err: ErrMalformedID},
		{target: "/ws", user: "{" + id + "}", err: ErrMalformedID},
		{target: "/ws", user: "urn:uuid", err: ErrMalformedID},
		{target: "/ws", user: id + "0", err: ErrMalformedID},
		{target: "/ws", user: id[:35], err: ErrMalformedID},
		{target: "/ws", user: "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4beg", err: ErrMalformedID},
		{target: "/ws", user: "1b9d6bcdbbfd-4b2d-9b5d--ab8dfbbd4bed", err: ErrMalformedID},
		{target: "/ws/@connections/12", user: id, err: ErrMalformedID},
		{target: "/ws/@connections/" + id + "%00", err: ErrMalformedID},
		{target: "/" + strings.Repeat("%41", MaxPath-1) + "/@connections/" + id, id: id, lives: "/" + strings.Repeat("A", MaxPath-1)},
		{target: "/" + strings.Repeat("a", maxTarget), user: id, err: ErrLongPath},
		{target: "/" + strings.Repeat("a", maxTarget) + "/@connections/" + id, err: ErrLongPath},
	} {
		r := httptest.NewRequest("POST", tc.target, nil)
		if tc.user != "" {
			r.SetBasicAuth(tc.user, "password")
		}
		got, err := Read(r)
		if !errors.Is(err, tc.err) || err == nil && got.ID != tc.id {
			t.Errorf("%s with user %q: got %+v, %v; want %s, %v", tc.target, tc.user, got, err, tc.id, tc.err)
			continue
		}
		for _, path := range strings.Fields(tc.lives) {
			if !got.Lives(NewPath(path)) {
				t.Errorf("%s with user %q cannot live at %s", tc.target, tc.user, path)
			}
		}
		for _, path := range strings.Fields(tc.not) {
			if tc.err == nil && got.Lives(NewPath(path)) {
				t.Errorf("%s with user %q may live at %s", tc.target, tc.user, path)
			}
		}
	}
}

func TestReadLink(t *testing.T) {
	for target, want := range map[string]string{
		"/@link/abc": "abc", "/%40link/abc": "abc", "/a/b/@link/abc?x": "abc", "/@%6cink/abc": "abc",
		"/@link/": "", "/@link": "", "/@link/a/b": "", "/link/abc": "", "/x@link/abc": "", "/@Link/abc": "", "/%2540link/abc": "", "/a%2F@link/abc": "",
	} {
		nonce, ok := ReadLink(httptest.NewRequest("GET", target, nil))
		if ok != (want != "") || ok && nonce != want {
			t.Errorf("%s: %q, %v; want %q", target, nonce, ok, want)
		}
	}
	base, err := Parse("https://[::1]:8443/a/", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if got := base.Link("abc"); got != "https://[::1]:8443/a/@link/abc" {
		t.Errorf("the URL is %s", got)
	}
}
