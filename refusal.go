package wspush

import (
	"errors"
	"net/http"

	"github.com/wspush/wspush/internal/wire"
)

// Challenges, which every 401 has (RFC 9110 section 15.5.2). A browser that is asked for Basic at a handshake asks its user for
// a password. It has no dialog for Bearer.
const (
	basicChallenge  = `Basic realm="wspush"`
	bearerChallenge = `Bearer realm="wspush"`
)

// callbackProblem returns the answer to a request that a callback of the application has refused with err: HandlerOptions.Accept,
// for one that is connecting, or WorkerOptions.AuthorizePush, for one that is pushing. An error that is not a decision says that
// the application could not decide.
func (s *shared) callbackProblem(r *http.Request, callback, doing string, err error) *problem {
	log := s.log.With("callback", callback, "remote", remoteOf(r), "error", err)
	var p *problem
	switch {
	case errors.Is(err, ErrUnauthorized):
		p = newProblem(http.StatusUnauthorized, doing+" needs authorization: send a credential, or a better one")
	case errors.Is(err, ErrForbidden):
		p = newProblem(http.StatusForbidden, doing+" is forbidden to whoever sent this")
	default:
		p = unavailable("the application cannot decide at the moment whether " + doing + " is allowed; try again later")
		if errors.Is(err, ErrUnavailable) || r.Context().Err() != nil { // it has decided, or nobody waits for an answer
			log.Debug("wspush: refused for now by a callback")
		} else {
			log.Warn("wspush: a callback could not decide")
		}
		return p
	}
	log.Debug("wspush: refused by a callback")
	return p
}

// unavailable is a refusal that a later try may not meet.
func unavailable(detail string) *problem {
	p := newProblem(http.StatusServiceUnavailable, detail)
	p.Type = wire.TypeUnavailable
	return p
}
