package publisher

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/wire"
)

// parseWorkers reads Options.Workers.
func parseWorkers(urls []string) (workers []target, err error) {
	if len(urls) > maxAlternatives {
		return nil, fmt.Errorf("wspush: Workers has more than %d elements", maxAlternatives)
	}
	for i, s := range urls {
		t, reason := parseWorker(s)
		if reason != "" { // a URL may hold a password
			return nil, fmt.Errorf("wspush: Workers[%d] is no URL of a worker, such as https://push.example.com or http://10.0.0.5:48775/ws: %s", i, reason)
		}
		workers = append(workers, t)
	}
	return workers, nil
}

// parseWorker reads the URL of a worker: as strictly as an address, so that both can only mean the same.
func parseWorker(s string) (t target, reason string) {
	scheme, rest, _ := strings.Cut(s, "://")
	t.scheme = strings.ToLower(scheme)
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], strings.TrimRight(rest[i:], "/")
	}
	switch {
	case len(s) > maxURL:
		return t, "it is too long"
	case t.scheme != "http" && t.scheme != "https":
		return t, "it does not begin with http:// or https://"
	case address.HasMarker(path), address.HasMembersMarker(path):
		return t, "its path has a segment that is for connections, users or groups"
	}
	h, err := parseOrigin(t.scheme, host)
	if err == nil {
		err = address.CheckPath(path)
	}
	if err != nil {
		return t, strings.TrimPrefix(err.Error(), ErrAddress.Error()+": ")
	}
	t.origin, t.path = h, path
	return t, ""
}

// at returns where workers are asked about the connection of an ID or a sealed ID.
func at(workers []target, id string) []target {
	all := make([]target, len(workers))
	for i, t := range workers {
		t.id = id
		all[i] = t
	}
	return all
}

// members is the URL of a user or a group there, without its query. segment is from nameIn.
func (t target) members(isGroup bool, segment string) *url.URL {
	marker := address.UsersMarker
	if isGroup {
		marker = address.GroupsMarker
	}
	return t.join("/" + marker + "/" + segment)
}

// membership is the URL of whether a connection is in a group.
func (t target) membership(segment string) *url.URL {
	return t.join("/" + wire.Marker + "/" + t.id + "/" + address.GroupsMarker + "/" + segment)
}

// nameIn returns where a name stands in a request: in the path, if nothing in it ever needs an escape or means anything there. Otherwise it
// stands in the query, since there are proxies that write such a path anew before they pass it on.
func nameIn(name string) (segment, query string) {
	if name == "." || name == ".." || strings.ContainsFunc(name, isReserved) {
		return "", address.NameParam + "=" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return name, ""
}

func isReserved(r rune) bool { return !isWord(r) && r != '.' && r != '~' }

// joinQuery joins two queries, of which either may be "".
func joinQuery(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "&" + b
}
