package address

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/wspush/wspush/internal/wire"
)

func TestReadMembers(t *testing.T) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	malformed := errors.New("malformed")
	for target, want := range map[string]struct {
		group      bool
		name, id   string
		membership bool
		err        error
	}{
		"/@users/42":                                         {name: "42"},
		"/ws/@users/42":                                      {name: "42"},
		"/a/b/c/@groups/room-7":                              {group: true, name: "room-7"},
		"/%40users/42":                                       {name: "42"},
		"/%40u%73ers/42":                                     {name: "42"},
		"/ws/@users/a%20b%2Cc":                               {name: "a b,c"},
		"/ws/@users/a+b":                                     {name: "a+b"},
		"/ws/@users/a,b":                                     {name: "a,b"},
		"/ws/@users/%E6%88%BF":                               {name: "房"},
		"/ws/@users/a%252Fb":                                 {name: "a%2Fb"},
		"/ws/@users/.":                                       {name: "."},
		"/ws/@users/..":                                      {name: ".."},
		"/ws/@users?name=..":                                 {name: ".."},
		"/ws/@users/?name=a+b%2Bc":                           {name: "a b+c"},
		"/ws/@users?n%61me=42&except=x":                      {name: "42"},
		"/ws/@users/42?confirm=received":                     {name: "42"},
		"/ws/@users/@users":                                  {name: "@users"},
		"/ws/@users/@connections":                            {name: "@connections"},
		"/ws/@users/@ready":                                  {name: "@ready"},
		"/ws/@groups/@users":                                 {group: true, name: "@users"},
		"/ws/@users/" + id:                                   {name: id},
		"/ws/@connections/" + id + "/@groups/x":              {group: true, name: "x", membership: true, id: id},
		"/@connections/" + id + "/@groups/x":                 {group: true, name: "x", membership: true, id: id},
		"/ws/%40connections/" + id + "/%40groups/x%20y":      {group: true, name: "x y", membership: true, id: id},
		"/ws/@connections/" + id + "/@groups?name=x":         {group: true, name: "x", membership: true, id: id},
		"/ws/@connections/v1.abc/@groups/x":                  {group: true, name: "x", membership: true, id: "v1.abc"},
		"/ws/@connections/" + id + "/@groups/@connections":   {group: true, name: "@connections", membership: true, id: id},
		"/ws/@connections//@groups/x":                        {group: true, membership: true, err: ErrNoMember},
		"/ws/@connections/@groups/x":                         {group: true, membership: true, err: ErrNoMember},
		"/ws/@connections/%20/@groups/x":                     {group: true, membership: true, err: ErrMalformedID},
		"/ws/@connections/x/" + id + "/@groups/x":            {group: true, membership: true, err: ErrNoMembers},
		"/@connections/ws/@connections/" + id + "/@groups/x": {group: true, membership: true, err: ErrNoMembers},
		"/ws/@connections/" + id + "/@users/x":               {err: ErrNoMembers},
		"/ws/@connections/@users/x":                          {err: ErrNoMembers},
		"/ws/@users/42/@users/43":                            {err: ErrNoMembers},
		"/ws/@users/42/":                                     {err: ErrNoMembers},
		"/ws/@users//42":                                     {err: ErrNoMembers},
		"/ws/@users/42/@groups/x":                            {err: ErrNoMembers},
		"/ws/@groups/x/@connections/" + id:                   {group: true, err: ErrNoMembers},
		"/ws/@users":                                         {err: ErrNoName},
		"/ws/@users/":                                        {err: ErrNoName},
		"/ws/@users?nam=42":                                  {err: ErrNoName},
		"/ws/@users/42?name=43":                              {err: ErrTwoNames},
		"/ws/@users/42?name=42":                              {err: ErrTwoNames},
		"/ws/@users/42?name=":                                {err: ErrTwoNames},
		"/ws/@users?name=42&name=43":                         {err: ErrTwoNames},
		"/ws/@users?name=":                                   {err: wire.ErrName},
		"/ws/@users?name=a%2Fb":                              {err: wire.ErrName},
		"/ws/@users?name=a%0Ab":                              {err: wire.ErrName},
		"/ws/@users?name=%ff":                                {err: wire.ErrName},
		"/ws/@users?name=%zz":                                {err: malformed},
		"/ws/@users/a%2Fb":                                   {err: wire.ErrName},
		"/ws/@users/%0A":                                     {err: wire.ErrName},
		"/ws/@users/%00":                                     {err: wire.ErrName},
		"/ws/@users/%FF":                                     {err: wire.ErrName},
		"/ws/@users/" + strings.Repeat("x", 257):             {err: wire.ErrName},
		"/" + strings.Repeat("x", 9000) + "/@users/42":       {err: ErrLongPath},
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		m, ok, err := ReadMembers(&http.Request{URL: u})
		isRight := err == want.err || errors.Is(err, want.err) || want.err == malformed && err != nil
		if want.err == nil {
			isRight = err == nil && m.Name == want.name && m.Connection.ID == want.id
		}
		if !ok || !isRight || m.IsGroup != want.group || m.IsMembership != want.membership {
			t.Errorf("%s: %+v, %v, %v", target, m, ok, err)
		}
		if err == nil && want.id != "" && !m.Connection.Lives(NewPath("/ws")) != strings.HasPrefix(target, "/@") {
			t.Errorf("%s: %+v", target, m.Connection)
		}
		if !HasMembersMarker(u.EscapedPath()) {
			t.Errorf("%s has no marker", target)
		}
	}
	for _, target := range []string{"/", "/ws", "/ws/@connections/" + id, "/ws/users/42", "/ws/@user/42", "/ws/x@users/42", "/ws/@usersx/42", "/ws/a%2F@users/42", "/ws/@connections/@users%2F42"} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if m, ok, err := ReadMembers(&http.Request{URL: u}); ok || err != nil || HasMembersMarker(u.EscapedPath()) {
			t.Errorf("%s: %+v, %v, %v", target, m, ok, err)
		}
	}
}

// Whatever comes, what is found is a name, and the path has a marker.
func FuzzReadMembers(f *testing.F) {
	f.Add("/ws/@users/42", "")
	f.Add("/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed/@groups/%2e", "except=x")
	f.Add("/%40groups", "name=a&x=%")
	f.Fuzz(func(t *testing.T, path, query string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		u.RawQuery = query
		m, ok, err := ReadMembers(&http.Request{URL: u})
		switch {
		case !ok && (err != nil || m != Members{}):
			t.Errorf("%+v, %v", m, err)
		case ok && err == nil && (wire.CheckName(m.Name) != nil || m.IsMembership != (m.Connection.ID != "")):
			t.Errorf("%+v", m)
		case ok != HasMembersMarker(inAddress(u.EscapedPath())):
			t.Errorf("%v, and the path has a marker: %v", ok, !ok)
		}
	})
}
