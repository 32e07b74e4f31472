package wspush

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/wire"
)

// memberships is what a connection is a member of. Conn.mu guards it.
type memberships struct {
	user member             // its conn is nil if the client is nobody
	few  []*member          // in groups, as long as they are few
	many map[string]*member // in place of few, by name
}

// fewGroups is for how many groups a search is no slower than a map, and a map far larger.
const fewGroups = 8

// User returns whose connection it is: what HandlerOptions.User returned for this client, or "".
func (c *Conn) User() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.userLocked()
}

func (c *Conn) userLocked() string {
	if c.memberships == nil {
		return ""
	}
	return c.memberships.user.name
}

// memberKeysLocked returns what the connection is a member of, as memberKey has it.
func (c *Conn) memberKeysLocked() (keys []string) {
	if user := c.userLocked(); user != "" {
		keys = append(keys, memberKey(false, user))
	}
	for m := range c.memberships.groups {
		keys = append(keys, memberKey(true, m.name))
	}
	return keys
}

// Groups returns the groups that the connection is in, sorted; or, once it has ended, was in.
func (c *Conn) Groups() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for m := range c.memberships.groups {
		names = append(names, m.name)
	}
	slices.Sort(names)
	return names
}

// Join makes the connection a member of a group. It does nothing if the connection is one already. From then on, a push to the group
// reaches it; before the connection is open for pushes, when its Greeting is called for example, that is from when it is open.
//
// A name is UTF-8 of 1 to 256 bytes without control characters and "/"; others get an error, which is none of the following. ErrGone means
// that the connection has ended, ErrShutdown that it is left to the next worker as it was, and ErrTooManyGroups that it is in as many
// groups as WorkerOptions.MaxGroups allows. A session that has moved to another worker joins there; if that one cannot be reached, the
// error is ErrUnreachable.
//
// With a Cluster.Directory, Join then waits until other workers can know. If ctx ends before, it returns ctx's error, and if the directory
// does not answer, ErrDirectory. The connection is a member of the group all the same, and the directory is told as soon as it can be.
func (c *Conn) Join(ctx context.Context, group string) error {
	if err := wire.CheckName(group); err != nil {
		return err
	}
	if err := c.join(group); err != nil {
		return c.changeElsewhere(ctx, err, askJoin, group, c.join)
	}
	return c.awaitKnown(ctx, group)
}

func (c *Conn) join(group string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joinLocked(group)
}

// awaitKnown waits until other workers can know whether there are members of a group here. Before the connection is open, it is not
// counted among them, and it is the greeting that waits.
func (c *Conn) awaitKnown(ctx context.Context, group string) error {
	if c.shared.isKnown == nil {
		return nil
	}
	return c.shared.isKnown(ctx, true, group)
}

func (c *Conn) joinLocked(group string) error {
	if err := c.overLocked(); err != nil {
		return err
	}
	if c.memberships == nil {
		c.memberships = new(memberships)
	}
	s := c.memberships
	if s.group(group) != nil {
		return nil
	}
	if limit := c.shared.maxGroups; limit >= 0 && s.len() >= limit {
		return fmt.Errorf("%w: %d", ErrTooManyGroups, limit)
	}
	m := &member{conn: c, name: strings.Clone(group), at: absent}
	if c.isOpen {
		c.enterLocked(&c.shared.members.groups, m)
	}
	s.add(m)
	return nil
}

// Leave ends what Join, or HandlerOptions.Groups, has begun. It does nothing if the connection is not in the group. Errors and ctx are
// those of Join.
func (c *Conn) Leave(ctx context.Context, group string) error {
	if err := wire.CheckName(group); err != nil {
		return err
	}
	if err := c.leave(group); err != nil {
		return c.changeElsewhere(ctx, err, askLeave, group, c.leave)
	}
	return c.awaitKnown(ctx, group)
}

func (c *Conn) leave(group string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.overLocked(); err != nil {
		return err
	}
	if m := c.memberships.take(group); m != nil {
		c.shared.members.groups.remove(m)
	}
	return nil
}

// changeElsewhere joins or leaves a group, which has failed with err, if that is because another worker takes the session, or has it.
func (c *Conn) changeElsewhere(ctx context.Context, err error, ask, group string, change func(string) error) error {
	if err != ErrShutdown {
		return err
	}
	d, failed := c.whereabouts(ctx)
	switch {
	case failed != nil:
		return failed
	case d == nil:
		if err := change(group); err != nil {
			return err
		}
		return c.awaitKnown(ctx, group)
	}
	reply, err := d.worker.ask(ctx, &link.Request{
		Peer: d.peer(), ID: uuid.MustParse(c.id), Method: ask, AnyPath: true, Query: url.Values{address.NameParam: {group}}.Encode(),
	})
	if err != nil {
		return err
	}
	return replyError(reply)
}

// setUser says whose connection it is, before anybody else knows the connection.
func (c *Conn) setUser(name string) {
	c.memberships = &memberships{user: member{conn: c, name: strings.Clone(name), at: absent}}
}

// setOpen counts and lists the connection from now on, and makes it a member, unless it has ended already.
func (c *Conn) setOpen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil {
		return
	}
	c.isOpen = true
	c.shared.registry.setOpen(c)
	s := c.memberships
	if s == nil {
		return
	}
	if s.user.conn != nil {
		c.enterLocked(&c.shared.members.users, &s.user)
	}
	for m := range s.groups {
		c.enterLocked(&c.shared.members.groups, m)
		if s.many != nil {
			s.many[m.name] = m // by the name that is held anyway
		}
	}
}

func (c *Conn) enterLocked(x *index, m *member) {
	m.since = time.Now().UnixNano()
	x.add(m)
}

// leaveAllLocked makes the connection a member of nothing. It still knows what it was a member of.
func (c *Conn) leaveAllLocked() {
	s := c.memberships
	if s == nil || !c.isOpen {
		return
	}
	if s.user.conn != nil {
		c.shared.members.users.remove(&s.user)
	}
	for m := range s.groups {
		c.shared.members.groups.remove(m)
	}
}

// groups yields what the connection is in groups as. Nil has none.
func (s *memberships) groups(yield func(*member) bool) {
	if s == nil {
		return
	}
	for _, m := range s.few {
		if !yield(m) {
			return
		}
	}
	for _, m := range s.many {
		if !yield(m) {
			return
		}
	}
}

func (s *memberships) len() int { return len(s.few) + len(s.many) }

// group returns what the connection is in a group as, or nil.
func (s *memberships) group(name string) *member {
	if i := s.indexOf(name); i >= 0 {
		return s.few[i]
	}
	return s.many[name]
}

// indexOf returns where a group is in few, or -1.
func (s *memberships) indexOf(name string) int {
	return slices.IndexFunc(s.few, func(m *member) bool { return m.name == name })
}

func (s *memberships) add(m *member) {
	switch {
	case s.many != nil:
		s.many[m.name] = m
	case len(s.few) < fewGroups:
		s.few = append(s.few, m)
	default:
		s.many = make(map[string]*member, 2*fewGroups)
		for _, m := range s.few {
			s.many[m.name] = m
		}
		s.many[m.name] = m
		s.few = nil
	}
}

// take removes a group, and returns what the connection was in it as, or nil. Nil has none.
func (s *memberships) take(name string) *member {
	if s == nil {
		return nil
	}
	if i := s.indexOf(name); i >= 0 {
		m := s.few[i]
		s.few = slices.Delete(s.few, i, i+1)
		return m
	}
	m := s.many[name]
	if delete(s.many, name); len(s.many) == 0 {
		s.many = nil // it would stay as large as it once was
	}
	return m
}

// joinGroups calls HandlerOptions.Groups. It returns why the connection cannot be in these groups.
func (l *life) joinGroups() (err error) {
	if l.handler.opts.Groups == nil {
		return nil
	}
	var groups []string
	if !l.call("Groups", func() { groups = l.handler.opts.Groups(l.Conn) }) {
		return nil // the connection has ended
	}
	for _, group := range groups {
		if err := wire.CheckName(group); err != nil {
			return fmt.Errorf("a name from Groups: %w", wire.Inside(err))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, group := range groups {
		switch err := l.joinLocked(group); err {
		case nil:
		case ErrGone:
			return nil
		default:
			return fmt.Errorf("the names from Groups: %w", wire.Inside(err))
		}
	}
	return nil
}
