package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Recipients are the connections of a user or of a group, whoever they are at the time. [Client.User] and [Client.Group] return them. The
// worker that is asked, one of Options.Workers, knows them. It is safe for concurrent use.
//
// Push, Disconnect and Members have the signatures of those of wspush.Recipients, so that one interface fits both.
type Recipients struct {
	c       *Client
	isGroup bool
	name    string
	except  []string // as they were given
}

// User returns the connections of a user. It always succeeds: a wrong name, like an absent user, is found by what is then done with it.
func (c *Client) User(name string) *Recipients { return &Recipients{c: c, name: name} }

// Group returns the connections in a group. It always succeeds, as User does.
func (c *Client) Group(name string) *Recipients { return &Recipients{c: c, isGroup: true, name: name} }

// Except returns the same without some connections, such as that of the one who has written what all others are to read. Each is given by
// its ID or its sealed ID, or by an address that has one of these; nothing is dialled for an address here.
func (r *Recipients) Except(connections ...string) *Recipients {
	without := *r
	without.except = slices.Concat(r.except, connections)
	return &without
}

const (
	maxQuery   = 14 << 10 // bytes that the excepted take in a query; a worker takes 16 KiB of it
	maxListed  = 1000     // members of which one answer tells
	maxMembers = 3 << 20  // bytes of that answer: a sealed ID may have 1 KiB, and a name 1.5 KiB with JSON's escapes
)

var (
	errNoWorkers = errors.New("wspush: Options.Workers does not say which worker to ask about users, groups and IDs")
	errExcept    = errors.New("wspush: nothing was sent: Except has more connections than one request can name")
	errMembers   = errors.New("the answer is not a worker's list of members")
	errClosed    = errors.New("the answer does not say in a way that makes sense how many connections were closed")
)

// check returns the IDs that are excepted, or why nothing can be sent. room is how many bytes of them, and of what separates them, a
// request can take.
func (r *Recipients) check(room int) (except []string, err error) {
	if err := wire.CheckName(r.name); err != nil {
		return nil, err
	}
	if len(r.c.workers) == 0 {
		return nil, errNoWorkers
	}
	for _, connection := range r.except {
		if wire.IsID(connection) || wire.IsSealedID(connection) {
			except = append(except, connection)
			continue
		}
		targets, err := parseAddress(connection)
		if err != nil {
			return nil, fmt.Errorf("%w (in Except)", err)
		}
		for _, t := range targets {
			if !slices.Contains(except, t.id) {
				except = append(except, t.id)
			}
		}
	}
	for _, id := range except {
		if room -= len(id) + len("&except="); room < 0 {
			return nil, errExcept
		}
	}
	return except, nil
}

// ask sends a request about the members, whose query so far is k's.
func (r *Recipients) ask(ctx context.Context, k call, except []string) (reply, error) {
	for _, id := range except {
		k.query = joinQuery(k.query, "except="+id) // which needs no escape
	}
	segment, inQuery := nameIn(r.name)
	k.query = joinQuery(k.query, inQuery)
	k.url = func(t target) *url.URL { return t.members(r.isGroup, segment) }
	k.anyWorker = true
	return r.c.ask(ctx, r.c.workers, k)
}

// Push sends data to each member as one message, and returns once every member has its outcome. So a client that does not read
// keeps it waiting, but delays no other member. What is not said here is as for [Client.Push].
//
// The error is nil if at least one member has the message, or its session has it ([Buffered]): Outcomes counts them all, and its Err tells of each that has not. Otherwise
// it is ErrUnknown if one may have it, and also if the answer was lost, or made no sense. Any other error means that nothing was written
// to anybody: ErrGone if nobody is there; the reason of a member that has refused the message, the one that gives most hope for another
// attempt; ErrDirectory if it cannot be known who is there; what Client.Push returns for a request that is refused; or what is wrong
// with the name or with Except, in which case nothing has been sent. If all members were excepted, it is nil.
//
// Another of the Options.Workers is asked only while it is certain that nothing was written, and that it may know better.
func (r *Recipients) Push(ctx context.Context, typ MessageType, data []byte, opts ...PushOption) (Outcomes, error) {
	attempts, began := 0, r.c.now()
	out, err := r.push(ctx, typ, data, opts, &attempts)
	r.c.tellMembers(ctx, r.isGroup, began, attempts, out, err)
	return out, err
}

func (r *Recipients) push(ctx context.Context, typ MessageType, data []byte, opts []PushOption, attempts *int) (Outcomes, error) {
	except, err := r.check(maxQuery)
	if err != nil {
		return Outcomes{}, err
	}
	k, err := r.c.pushCall(ctx, typ, data, opts)
	if err != nil {
		return Outcomes{}, err
	}
	k.attempts = attempts
	k.success, k.buffers = statusDone, false // the outcomes say of each
	confirmed := options(opts).Confirmed
	a, err := r.ask(ctx, k, except)
	if err != nil && a.problem.Status == 0 { // no worker has decided
		return Outcomes{}, err
	}
	if err == nil {
		if a.problem, err = countsOf(a.body); err != nil {
			return Outcomes{}, a.unknown(errOutcomes)
		}
	}
	out, nonsense := outcomesOf(a.problem, confirmed)
	if nonsense != nil {
		return Outcomes{}, a.unknown(nonsense)
	}
	return out, err
}

// countsOf reads the answer to a push that has not failed.
func countsOf(body []byte) (bulk.Answer, error) {
	var counts bulk.Counts
	err := json.Unmarshal(body, &counts)
	return bulk.Answer{Status: statusDone, Counts: &counts}, err
}

// coverage is of how many workers an answer tells.
type coverage struct {
	Workers, Answered *int
	Complete          *bool
}

// isSensible reports whether an answer can have it.
func (c *coverage) isSensible() bool {
	return c.Workers != nil && c.Answered != nil && c.Complete != nil && isCount(*c.Workers) && isCount(*c.Answered) &&
		*c.Answered <= *c.Workers && (!*c.Complete || *c.Answered == *c.Workers)
}

// err returns an ErrDirectory if the answer is not about all of them.
func (c *coverage) err(a reply) error {
	if *c.Complete {
		return nil
	}
	return &Error{is: ErrDirectory, where: a.from.String(), cause: fmt.Errorf("%d of %d workers have answered", *c.Answered, *c.Workers)}
}

// Disconnect closes each member's connection, with a code and a reason as [Client.Disconnect] takes them, and returns how many. That
// nobody is there is no error. With [Recipients.Except], a user can be logged out everywhere else. ErrDirectory means that there may be
// more of them, and ErrUnknown that connections may have been closed.
func (r *Recipients) Disconnect(ctx context.Context, code int, reason string) (closed int, err error) {
	query, err := closeQuery(code, reason)
	if err != nil {
		return 0, err
	}
	except, err := r.check(maxQuery)
	if err != nil {
		return 0, err
	}
	a, err := r.ask(ctx, call{method: http.MethodDelete, query: joinQuery("close=all", query), success: http.StatusOK}, except)
	if err != nil {
		if c := a.problem.Counts; c != nil && c.Closed != nil && isCount(*c.Closed) {
			closed = *c.Closed
		}
		return closed, err
	}
	var answer struct {
		Closed *int
		coverage
	}
	if json.Unmarshal(a.body, &answer) != nil || answer.Closed == nil || !isCount(*answer.Closed) || !answer.isSensible() {
		return 0, a.unknown(errClosed)
	}
	return *answer.Closed, answer.err(a)
}

// Member is one of the [Recipients], as [Recipients.Members] tells of it. It is a struct, the same as in package wspush, with three fields:
// ID, a string, that of the connection, which with a Cluster is sealed, so that any worker takes it; User, a string, whose connection it
// is, or ""; and Since, a time.Time, when it became a member. An ID is the right to push: keep it out of logs.
type Member = wire.Member

// Members tells who is there when the iteration begins, in no order. An error is the last that it yields: those of [Client.Lookup], one
// for a wrong name, ErrDirectory if there may be others, and one that matches none of the errors of this package if there are more than
// the 1000 of which a worker tells.
func (r *Recipients) Members(ctx context.Context) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		members, err := r.members(ctx)
		for _, m := range members {
			if !yield(m, nil) {
				return
			}
		}
		if err != nil {
			yield(Member{}, err)
		}
	}
}

func (r *Recipients) members(ctx context.Context) ([]Member, error) {
	if _, err := r.check(maxQuery); err != nil {
		return nil, err
	}
	k := call{method: http.MethodGet, query: "limit=" + strconv.Itoa(maxListed), success: http.StatusOK, reads: true, limit: maxMembers}
	a, err := r.ask(ctx, k, nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Members []struct {
			ID    string
			User  string
			Since time.Time
		}
		Total *int
		coverage
	}
	wrong := json.Unmarshal(a.body, &answer) != nil || answer.Total == nil || !isCount(*answer.Total) || answer.Members == nil ||
		len(answer.Members) > min(maxListed, *answer.Total) || !answer.isSensible()
	var members []Member
	for _, m := range answer.Members {
		wrong = wrong || !wire.IsID(m.ID) && !wire.IsSealedID(m.ID)
		members = append(members, Member{ID: m.ID, User: m.User, Since: m.Since})
	}
	if wrong {
		return nil, &Error{Status: http.StatusOK, is: ErrUnreachable, where: a.from.String(), cause: errMembers}
	}
	if err := answer.err(a); err != nil {
		return members, err
	}
	if more := *answer.Total - len(members); more > 0 {
		return members, fmt.Errorf("wspush: there are %d more members, of whom the worker does not tell", more)
	}
	return members, nil
}
