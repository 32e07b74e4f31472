package wspushtest

import (
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/wire"
)

// parseGreeting parses wspush's default greeting: the comma-separated addresses of one connection. For any other greeting it
// returns nothing.
func parseGreeting(m Message) (id string, addresses []string) {
	addresses = strings.Split(string(m.Data), ",")
	for i, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" {
			return "", nil
		}
		of := u.User.Username()
		if _, last, ok := strings.Cut(u.Path, "/"+wire.Marker+"/"); of == "" && ok {
			of = last
		}
		if !wire.IsID(of) && !wire.IsSealedID(of) || i > 0 && of != id {
			return "", nil
		}
		id = of
	}
	return id, addresses
}
