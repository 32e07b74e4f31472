package address

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/wire"
)

// The segments before the name of a user or of a group. Like wire.Marker, they are in no client's path.
const (
	UsersMarker  = "@users"
	GroupsMarker = "@groups"
)

// NameParam is the parameter of a query that may have the name in place of the path: proxies rewrite %2F, and "." and "..".
const NameParam = "name"

// Members is what a request is about that names a user or a group:
//
//	…/@users/NAME, …/@groups/NAME    its members; what stands before it is for routers
//	PATH/@connections/ID/@groups/NAME    whether a connection is one of them
type Members struct {
	IsGroup bool
	Name    string

	IsMembership bool   // the second form
	Connection   Target // in that
}

// Errors of ReadMembers. Their texts are the details of the answers.
var (
	ErrNoMembers = errors.New("the path is none of /@users/NAME, /@groups/NAME and PATH/@connections/ID/@groups/NAME, each with or without a path before it")
	ErrNoMember  = errors.New("the path names no connection: the ID is missing in PATH/@connections/ID/@groups/NAME")
	ErrNoName    = errors.New("the request names nobody: the name is missing, which stands at the end of the path, or in the query as ?name=")
	ErrTwoNames  = errors.New("there is more than one name: it stands at the end of the path, or once in the query as ?name=")
)

// ReadMembers finds out which user or group a request names. ok is false for a request that names none. err, apart from the errors
// above, is ErrMalformedID, ErrLongPath, or what wire.CheckName says. With an err, too, IsMembership is right.
func ReadMembers(r *http.Request) (m Members, ok bool, err error) {
	// The usual case, at little cost. Since escapes stand for something else here, it may find what is not there, but misses nothing.
	if !strings.Contains(r.URL.Path, "/"+UsersMarker) && !strings.Contains(r.URL.Path, "/"+GroupsMarker) {
		return m, false, nil
	}
	path := inAddress(r.URL.EscapedPath())
	before, kind, after, hasMore := cutMembers(path)
	if kind == "" {
		return m, false, nil
	}
	m.IsGroup = kind == GroupsMarker
	m.IsMembership = m.IsGroup && HasMarker(before)
	if len(path) > maxTarget {
		return m, true, ErrLongPath
	}
	if m.IsMembership {
		if m.Connection, err = connectionOf(before); err != nil {
			return m, true, err
		}
	} else if HasMarker(before) {
		return m, true, ErrNoMembers
	}
	if hasMore {
		return m, true, ErrNoMembers
	}
	m.Name, err = nameOf(after, r.URL.RawQuery)
	return m, true, err
}

// cutMembers cuts a path at its first segment that is before a name, which kind is; "" if there is none. after is the next segment, and
// hasMore says whether there are others behind it.
func cutMembers(path string) (before, kind, after string, hasMore bool) {
	for at := 0; at < len(path); {
		end := strings.IndexByte(path[at+1:], '/')
		if end < 0 {
			end = len(path)
		} else {
			end += at + 1
		}
		if kind = membersMarker(path[at+1 : end]); kind != "" {
			after, _, hasMore = strings.Cut(strings.TrimPrefix(path[end:], "/"), "/")
			return path[:at], kind, after, hasMore
		}
		at = end
	}
	return path, "", "", false
}

// membersMarker returns which marker a segment is, as IsMarker does, or "".
func membersMarker(segment string) string {
	plain, err := url.PathUnescape(segment)
	if err == nil && (plain == UsersMarker || plain == GroupsMarker) {
		return plain
	}
	return ""
}

// connectionOf reads PATH/@connections/ID.
func connectionOf(path string) (t Target, err error) {
	rest, id := CutLast(path)
	mount, mark := CutLast(rest)
	switch {
	case id == "" && IsMarker(mark), IsMarker(id): // what merges slashes makes the second of the first
		return t, ErrNoMember
	case !IsMarker(mark) || HasMarker(mount):
		return t, ErrNoMembers
	case !IsName(id):
		return t, ErrMalformedID
	}
	t = At(inAddress(mount))
	t.ID = id
	return t, nil
}

// nameOf returns the name in the last segment of a path, or in the query.
func nameOf(segment, query string) (name string, err error) {
	if name, err = url.PathUnescape(segment); err != nil {
		return "", fmt.Errorf("%w: it has a malformed escape", wire.ErrName)
	}
	if strings.Contains(query, NameParam) || strings.Contains(query, "%") {
		values, err := url.ParseQuery(query)
		if err != nil {
			return "", errors.New("the query is malformed")
		}
		switch names := values[NameParam]; {
		case len(names) > 1, len(names) == 1 && name != "":
			return "", ErrTwoNames
		case len(names) == 1:
			return names[0], wire.CheckName(names[0])
		}
	}
	if name == "" {
		return "", ErrNoName
	}
	return name, wire.CheckName(name)
}

// HasMembersMarker reports whether a segment of an escaped path is a marker of users or groups.
func HasMembersMarker(path string) bool {
	_, kind, _, _ := cutMembers(path)
	return kind != ""
}

// MembersPath returns the escaped path of a request about a user or a group, for the mount of a bulk request with this escaped path.
func MembersPath(bulk string, isGroup bool, name string) string {
	mount, _ := CutLast(bulk)
	marker := UsersMarker
	if isGroup {
		marker = GroupsMarker
	}
	segment := url.PathEscape(name)
	if name == "." || name == ".." {
		segment = strings.ReplaceAll(name, ".", "%2E")
	}
	return mount + "/" + marker + "/" + segment
}
