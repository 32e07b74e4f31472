package wspush_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// TestBearerTokens: a publisher that knows one of the tokens may push, in either form of an address. Others learn nothing.
func TestBearerTokens(t *testing.T) {
	const token, next = "s3cret-s3cret-s3cret", "n3xt"
	const path, userinfo = "/ws/@connections/ID", "/ws"
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	tests := []struct {
		name, target, authorization string
		may                         bool
	}{
		{"path", path, "Bearer " + token, true},
		{"another token", path, "Bearer " + next, true},
		{"lower case", path, "bearer " + token, true},
		{"upper case", path, "BEARER " + token, true},
		{"two spaces", path, "Bearer  " + token, true},
		{"userinfo", userinfo, "user:" + token, true},
		{"userinfo, another token", userinfo, "user:" + next, true},
		{"path, password", path, basic("anyone", token), true},
		{"path, password alone", path, basic("", token), true},
		{"Umlaute", path, "Bearer gehe\xefm", true},
		{"Umlaute as a password", path, basic("", "gehe\xefm"), true},
		{"with a colon", path, basic("x", "a:b"), true},

		{"nothing", path, "", false},
		{"nothing, userinfo", userinfo, "", false},
		{"userinfo, no password", userinfo, "user:", false},
		{"an empty token", path, "Bearer ", false},
		{"the scheme alone", path, "Bearer", false},
		{"no scheme", path, token, false},
		{"another scheme", path, "Token " + token, false},
		{"another scheme with a password", path, "Digest " + strings.TrimPrefix(basic("", token), "Basic "), false},
		{"wrong", path, "Bearer " + strings.Replace(token, "s", "z", 1), false},
		{"wrong, userinfo", userinfo, "user:wrong", false},
		{"a prefix", path, "Bearer " + token[:len(token)-1], false},
		{"longer", path, "Bearer " + token + "x", false},
		{"upper case token", path, "Bearer " + strings.ToUpper(token), false},
		{"two at once", path, "Bearer " + token + " " + next, false},
		{"in quotes", path, `Bearer "` + token + `"`, false},
		{"as a user", path, basic(token, ""), false},
		{"other Umlaute", path, "Bearer gehe\xefn", false},
		{"UTF-8", path, "Bearer geheïm", false},
		{"not Base64", path, "Basic ?", false},
		{"no colon", path, "Basic " + base64.StdEncoding.EncodeToString([]byte(token)), false},
		{"one that is empty", path, basic("x", ""), false},
	}
	for _, name := range doors {
		if name == "lane" { // AuthorizePush sees no lane
			continue
		}
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, name, wspush.WorkerOptions{AuthorizePush: wspush.BearerTokens(token, "", next, "gehe\xefm", "a:b")})
			for _, tc := range tests {
				authorized := func(id string) http.Header {
					if password, ok := strings.CutPrefix(tc.authorization, "user:"); ok {
						return http.Header{"Authorization": {basic(id, password)}}
					}
					return http.Header{"Authorization": {tc.authorization}}
				}
				resp := d.ask(t, "POST", tc.target, authorized(d.conn.ID()), tc.name)
				if tc.may {
					if resp.StatusCode != 204 {
						t.Fatalf("%s: %s %s", tc.name, resp.Status, text(t, resp))
					}
					d.client.Expect(testutil.Text, tc.name)
					continue
				}
				if got := resp.Header.Values("WWW-Authenticate"); resp.StatusCode != 401 || len(got) != 1 || got[0] != `Basic realm="wspush"` {
					t.Errorf("%s: %s, %q", tc.name, resp.Status, got)
				}
				// The answer is the same to every request, whether the connection exists or not.
				wanted := dump(t, resp)
				for _, id := range []string{d.conn.ID(), unknownID, "12"} {
					target := strings.ReplaceAll(tc.target, "ID", id)
					for _, method := range []string{"POST", "GET", "DELETE"} {
						body := map[string]string{"POST": "x"}[method]
						if got := dump(t, d.ask(t, method, target, authorized(id), body)); got != wanted {
							t.Errorf("%s: %s %s\n%s\nbut POST of a connection\n%s", tc.name, method, target, got, wanted)
						}
					}
					head := d.ask(t, "HEAD", target, authorized(id), "")
					if got, _, _ := strings.Cut(wanted, "{"); head.StatusCode != 401 || text(t, head) != "" || got == wanted {
						t.Errorf("%s: HEAD: %v", tc.name, head)
					}
					if got := d.ask(t, "OPTIONS", target, authorized(id), ""); got.StatusCode != 204 {
						t.Errorf("%s: OPTIONS: %v", tc.name, got)
					}
				}
			}
			if _, err := d.conn.Push(t.Context(), wspush.Text, []byte("and nothing else")); err != nil {
				t.Fatal(err)
			}
			d.client.Expect(testutil.Text, "and nothing else")
		})
	}
}

// Without a non-empty token, nobody may push. Changing the slice later changes nothing.
func TestBearerTokensNone(t *testing.T) {
	tokens := []string{"first"}
	authorize := wspush.BearerTokens(tokens...)
	tokens[0] = "second"
	for _, tc := range []struct {
		authorize func(*http.Request) error
		token     string
		may       bool
	}{
		{wspush.BearerTokens(), "", false},
		{wspush.BearerTokens(), "x", false},
		{wspush.BearerTokens("", ""), "", false},
		{wspush.BearerTokens("", ""), "x", false},
		{authorize, "first", true},
		{authorize, "second", false},
	} {
		for _, set := range []func(*http.Request){
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tc.token) },
			func(r *http.Request) { r.SetBasicAuth(unknownID, tc.token) },
		} {
			r := newRequest(t, "POST", "http://push.test/ws", nil)
			set(r)
			err := tc.authorize(r)
			if (err == nil) != tc.may || errors.Is(err, wspush.ErrForbidden) {
				t.Errorf("%q: %v", tc.token, err)
			}
			if err != nil && tc.token != "" && strings.Contains(err.Error(), tc.token) {
				t.Errorf("the token would be in the log: %v", err)
			}
		}
	}
}
