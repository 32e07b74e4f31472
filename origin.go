package wspush

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/wspush/wspush/internal/origin"
)

// origins decides which pages may push. A publisher that is not a browser sends no Origin, and origins lets it through.
type origins struct {
	allowed []string
}

func newOrigins(allowed []string) (*origins, error) {
	for _, s := range allowed {
		if err := origin.CheckName(s); err != nil {
			return nil, fmt.Errorf("wspush: PushOrigins: %q: %w", s, err)
		}
	}
	return &origins{allowed}, nil
}

func (o *origins) allows(origin string) bool { return slices.Contains(o.allowed, origin) }

// check refuses the requests that a browser sends for a page of a foreign origin. It lets allowed pages read the answer, and use these
// methods.
func (o *origins) check(header http.Header, r *http.Request, methods string) *problem {
	if origin.IsForeign(r, o.allows) {
		return newProblem(http.StatusForbidden, fmt.Sprintf("a page of %q may not push to %q: see WorkerOptions.PushOrigins", r.Header.Get("Origin"), r.Host))
	}
	if len(o.allowed) == 0 {
		return nil
	}
	header.Add("Vary", "Origin")
	from := r.Header.Get("Origin")
	if !o.allows(from) {
		return nil
	}
	header.Set("Access-Control-Allow-Origin", from)
	header.Set("Access-Control-Expose-Headers", exposedHeaders)
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		header.Set("Access-Control-Allow-Methods", methods)
		header.Set("Access-Control-Allow-Headers", askedHeaders(r))
	}
	return nil
}

// exposedHeaders are those of answers that a page may not read by itself.
const exposedHeaders = "Accept, Accept-Encoding, Allow, Retry-After, WWW-Authenticate, " +
	addressHeader + ", Wspush-Buffered, Wspush-Rtt, Wspush-State, " + amazonError

// askedHeaders are the headers that a page wants to send. It is one of an allowed origin, and may send what any other publisher may:
// AWS's SDKs, and libraries that trace requests, add headers of their own.
func askedHeaders(r *http.Request) string {
	allowed := []string{"authorization", "content-type"}
	for _, line := range r.Header.Values("Access-Control-Request-Headers") {
		for name := range strings.SplitSeq(strings.ToLower(line), ",") {
			if name = strings.Trim(name, " \t"); isToken(name) && !slices.Contains(allowed, name) {
				allowed = append(allowed, name)
			}
		}
	}
	return strings.Join(allowed, ", ")
}
