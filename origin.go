package wspush

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/wspush/wspush/internal/address"
)

// origins decides which pages may push. A publisher that is not a browser sends no Origin, and origins lets it through.
type origins struct {
	protection *http.CrossOriginProtection
	allowed    []string
}

func newOrigins(allowed []string) (*origins, error) {
	o := &origins{protection: http.NewCrossOriginProtection(), allowed: allowed}
	for _, origin := range allowed {
		if err := o.protection.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("wspush: PushOrigins: %w", err)
		}
		if !isOrigin(origin) {
			return nil, fmt.Errorf("wspush: PushOrigins: %q is not how a browser names an origin: "+
				"scheme://host:port, in lower case, without the port that is the scheme's own", origin)
		}
	}
	return o, nil
}

// isOrigin reports whether s is an origin as a browser writes it (RFC 6454 section 6.2). Any other text would allow nobody.
func isOrigin(s string) bool {
	u, err := url.Parse(s)
	if err != nil || !address.IsHost(u.Host) || s != u.Scheme+"://"+strings.ToLower(u.Host) || strings.HasSuffix(s, ":") {
		return false
	}
	return u.Port() == "" || u.Port() != map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// check refuses the requests that a browser sends for a page of a foreign origin. It lets allowed pages read the answer.
func (o *origins) check(header http.Header, r *http.Request) *problem {
	if err := o.protection.Check(r); err != nil {
		return newProblem(http.StatusForbidden, fmt.Sprintf("a page of %q may not push to %q: see WorkerOptions.PushOrigins", r.Header.Get("Origin"), r.Host))
	}
	if len(o.allowed) == 0 {
		return nil
	}
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !slices.Contains(o.allowed, origin) {
		return nil
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "Retry-After, Wspush-Rtt")
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		header.Set("Access-Control-Allow-Methods", pushMethods)
		header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	}
	return nil
}
