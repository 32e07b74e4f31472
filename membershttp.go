package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

const (
	// membershipMethods are the methods for whether a connection is in a group.
	membershipMethods = "DELETE, OPTIONS, PUT"
	// maxMembers is how many members one answer tells of.
	maxMembers = 1000
)

// notAuthorized is the answer to whatever names a user or a group at a worker without AuthorizePush.
func notAuthorized() *problem {
	return newProblem(http.StatusForbidden, "users and groups are served only by a worker with WorkerOptions.AuthorizePush: a name can be guessed")
}

// handleMembers is handle for an authorized request that names a user or a group. err is that of address.ReadMembers.
func (w *Worker) handleMembers(rw http.ResponseWriter, r *http.Request, m address.Members, err error) response {
	switch {
	case errors.Is(err, address.ErrNoMembers), errors.Is(err, address.ErrLongPath):
		return newProblem(http.StatusNotFound, err.Error()).response()
	case err != nil:
		return newProblem(http.StatusBadRequest, wire.WithoutPackage(err)).response()
	case m.IsMembership:
		return w.changeMembership(r, m)
	case w.isOver():
		return problemOf(ErrShutdown).response()
	}
	to := &Recipients{worker: w, isGroup: m.IsGroup, name: m.Name}
	switch r.Method {
	case http.MethodPost:
		return w.postMembers(rw, r, to)
	case http.MethodDelete:
		return deleteMembers(r, to)
	}
	return getMembers(r, to)
}

// badQuery is the answer to a request with a wrong query.
func badQuery(err error) response {
	return newProblem(http.StatusBadRequest, wire.WithoutPackage(err)).response()
}

// exceptIDs leaves out the connections of these IDs and sealed IDs.
func (r *Recipients) exceptIDs(ids []string) *problem {
	for _, id := range ids {
		if p := r.exceptID(id); p != nil {
			return p
		}
	}
	return nil
}

// exceptID leaves out a connection. One that has ended is nobody's any more.
func (r *Recipients) exceptID(id string) *problem {
	if !address.IsName(id) {
		return newProblem(http.StatusBadRequest, "except: "+address.ErrMalformedID.Error())
	}
	c, elsewhere, err := r.worker.find(id)
	switch {
	case errors.Is(err, errForeign), errors.Is(err, errNoKeys):
		return problemOf(err)
	case elsewhere != nil:
		r.exceptElsewhere = append(r.exceptElsewhere, *elsewhere)
	case err == errEarlierInstance && wire.IsSealedID(id): // its worker has only just started, or the session has moved
		place, _ := r.worker.cluster.keys.Open(id) // as find has
		r.exceptElsewhere = append(r.exceptElsewhere, place)
	case c != nil:
		r.except = append(r.except, c)
	case r.worker.membership != nil && wire.IsID(id): // it does not say which worker's it is
		r.exceptElsewhere = append(r.exceptElsewhere, seal.Place{ID: id})
	}
	if len(r.exceptElsewhere) > maxExceptElsewhere {
		return newProblem(http.StatusBadRequest, wire.WithoutPackage(errExceptElsewhere))
	}
	return nil
}

// coverage is how much of all workers an answer is about.
type coverage struct {
	Workers  int  `json:"workers"`
	Answered int  `json:"answered"`
	Complete bool `json:"complete"`
}

// ownCoverage is that of one worker, without others.
var ownCoverage = coverage{Workers: 1, Answered: 1, Complete: true}

// err returns an ErrDirectory if not all have answered.
func (c coverage) err() error {
	if c.Complete {
		return nil
	}
	return fmt.Errorf("%w: %d of %d workers have answered", ErrDirectory, c.Answered, c.Workers)
}

// jsonResponse is a success with a body.
func jsonResponse(v any) response {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // structs of strings and numbers
	}
	return jsonBody(body)
}

func jsonBody(body []byte) response {
	return response{status: http.StatusOK, isJSON: true, body: body}
}

// deleteMembers closes each member's connection. It asks for more than DELETE, since what is missing in somebody's template must not
// close a room.
func deleteMembers(r *http.Request, to *Recipients) response {
	values, err := readQueryWith("except", r.URL.RawQuery, "close", "code", "reason", "except", address.NameParam)
	if err != nil {
		return badQuery(err)
	}
	if values.Get("close") != "all" {
		return newProblem(http.StatusBadRequest, "to close the connections of all members, say close=all in the query").response()
	}
	code, reason, err := closeQueryOf(values)
	if err != nil {
		return badQuery(err)
	}
	if p := to.exceptIDs(values["except"]); p != nil {
		return p.response()
	}
	closed, cover, err := to.disconnect(context.WithoutCancel(r.Context()), code, reason)
	if err == nil && closed == 0 {
		err = cover.err()
	}
	if err != nil {
		return problemOf(err).response()
	}
	return jsonResponse(struct {
		Closed int `json:"closed"`
		coverage
	}{closed, cover})
}

// memberAnswer is what an answer says of a member.
type memberAnswer struct {
	ID    string `json:"id"`
	User  string `json:"user,omitempty"`
	Since string `json:"since"`
}

// getMembers tells who is there.
func getMembers(r *http.Request, to *Recipients) response {
	values, err := readQuery(r.URL.RawQuery, "limit", address.NameParam)
	if err != nil {
		return badQuery(err)
	}
	limit := maxMembers
	if values.Has("limit") {
		if limit, err = strconv.Atoi(values.Get("limit")); err != nil || limit < 0 || limit > maxMembers {
			return newProblem(http.StatusBadRequest, fmt.Sprintf("limit must be a number from 0 to %d", maxMembers)).response()
		}
	}
	if r.Method == http.MethodHead {
		limit = 0
	}
	members, total, cover, err := to.list(context.WithoutCancel(r.Context()), limit)
	if err == nil && total == 0 {
		err = cover.err()
	}
	switch {
	case err != nil:
		return problemOf(err).response()
	case r.Method != http.MethodHead:
	case total == 0:
		return problemOfOutcomes(&Outcomes{}, wire.ErrNobody, false).response()
	default:
		return response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}}
	}
	answers := make([]memberAnswer, len(members))
	for i, m := range members {
		answers[i] = memberAnswer{m.ID, m.User, m.Since.UTC().Format(time.RFC3339Nano)}
	}
	return jsonResponse(struct {
		Members []memberAnswer `json:"members"`
		Total   int            `json:"total"`
		coverage
	}{answers, total, cover})
}

// What a worker asks of another about a connection there, in place of an HTTP method. The name is in the query.
const (
	askJoin  = "JOIN"
	askLeave = "LEAVE"
)

// changeMembership makes a connection join or leave a group.
func (w *Worker) changeMembership(r *http.Request, m address.Members) response {
	ask := askJoin
	if r.Method == http.MethodDelete {
		ask = askLeave
	}
	c, elsewhere, err := w.locate(context.WithoutCancel(r.Context()), m.Connection.ID)
	if err == nil && c != nil {
		elsewhere = c.elsewhere()
	}
	if elsewhere == nil && err == nil && !m.Connection.Lives(c.path) {
		err = errOtherPath
	}
	if err != nil {
		return problemOf(err).response()
	}
	if _, err := readQuery(r.URL.RawQuery, address.NameParam); err != nil {
		return badQuery(err)
	}
	if elsewhere != nil {
		return w.forwardRequest(r, elsewhere, &link.Request{Method: ask, Path: m.Connection.Path, Query: url.Values{address.NameParam: {m.Name}}.Encode()})
	}
	return c.change(r.Context(), ask, m.Name)
}

// change makes the connection join or leave a group.
func (c *Conn) change(ctx context.Context, ask, group string) response {
	change := c.Join
	if ask == askLeave {
		change = c.Leave
	}
	err := change(ctx, group)
	if err == nil {
		return noContent()
	}
	p := problemOf(err)
	if errors.Is(err, ErrDirectory) {
		p.Detail = "it has been done, but the directory does not answer: other workers will know of it when it does"
	}
	return p.response()
}

// changeFor is change for another worker, whose request has the name in its query.
func (c *Conn) changeFor(ctx context.Context, ask, query string) response {
	values, err := readQuery(query, address.NameParam)
	if err != nil {
		return badQuery(err)
	}
	return c.change(ctx, ask, values.Get(address.NameParam))
}
