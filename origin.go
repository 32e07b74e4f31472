package wspush

import (
	"fmt"
	"net/http"
	"slices"

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

// check refuses the requests that a browser sends for a page of a foreign origin. It lets allowed pages read the answer.
func (o *origins) check(header http.Header, r *http.Request) *problem {
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
	header.Set("Access-Control-Expose-Headers", "Retry-After, Wspush-Rtt")
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		header.Set("Access-Control-Allow-Methods", pushMethods)
		header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	}
	return nil
}
