package publisher

import (
	"context"
	"encoding/json"
	"net"
	"net/http"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/sent"
)

// Requests returns the requests that a push to the address would try.
func (c *Client) Requests(address string) ([]*http.Request, error) {
	targets, err := c.targets(address)
	if err != nil {
		return nil, err
	}
	var all []*http.Request
	for _, t := range targets {
		all = append(all, c.request(context.Background(), t, call{method: http.MethodPost, data: []byte{}}))
	}
	return all, nil
}

// Transport returns the Client's.
func (c *Client) Transport() *http.Transport { return c.transport }

// Remembered returns for how many sets of origins the Client knows which one works.
func (c *Client) Remembered() int { return len(c.memory.worked) }

// Routes returns how many routes the Stream has.
func (s *Stream) Routes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.routes)
}

// Scrub is what errors do with the text of others.
func Scrub(text, secret string) string { return scrub(text, secret) }

const MaxText = maxText

// Counted is a connection as the Client's transport has them.
func Counted(conn net.Conn) net.Conn { return sent.Conn(conn) }

// OutcomesOf is what the body of an answer with this status says that a push to a user or a group came to.
func OutcomesOf(status int, body []byte, confirmed bool) (Outcomes, error) {
	a := bulk.Answer{Status: status}
	if err := json.Unmarshal(body, &a); err != nil {
		return Outcomes{}, err
	}
	a.Status = status
	return outcomesOf(a, confirmed)
}

// Moves returns of how many connections the Client knows where they have moved to.
func (c *Client) Moves() int {
	c.moves.mu.Lock()
	defer c.moves.mu.Unlock()
	if len(c.moves.entries) != c.moves.order.Len() {
		panic("the map and the list differ")
	}
	return len(c.moves.entries)
}

// Moved has the Client remember that a connection has moved, as a worker's answer does.
func (c *Client) Moved(address, header string) {
	given, err := c.targets(address)
	if err != nil {
		panic(err)
	}
	c.learn(address, given, way{targets: given}, given[0], false, http.Header{movedHeader: {header}})
}

// MovedTo returns the URLs at which the Client looks first for the connection of an address, or nil.
func (c *Client) MovedTo(address string) (urls []string) {
	to, _ := c.movedTo(address)
	for _, t := range to {
		urls = append(urls, t.url().String())
	}
	return urls
}

const (
	MaxMoves   = maxMoves
	MaxAddress = maxAddress
)
