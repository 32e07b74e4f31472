package origin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/wspush/wspush/internal/address"
)

// Patterns are the foreign origins whose pages may connect.
type Patterns []pattern

// pattern is one of them: a pattern of path.Match for a host, or for scheme and host.
type pattern struct {
	text      string // in lower case
	hasScheme bool
	port      string // that it ends in, if that is the default one of a scheme
}

// ParsePatterns reads the elements of HandlerOptions.OriginPatterns. It refuses what no page's origin can match.
func ParsePatterns(all []string) (Patterns, error) {
	var patterns Patterns
	for _, s := range all {
		p, err := parsePattern(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

// Check returns why the page that a handshake is from may not connect, or nil if it may. Clients without an Origin are no pages.
func (all Patterns) Check(r *http.Request) error {
	origin := r.Header.Get("Origin")
	if origin == "" || IsSame(origin, r.Host) {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil {
		return fmt.Errorf("the Origin %.200q is not a URL", origin)
	}
	for _, p := range all {
		if p.matches(u) {
			return nil
		}
	}
	return fmt.Errorf("a page of %.200q may not connect to the host %.200q", origin, r.Host)
}

func (p pattern) matches(origin *url.URL) bool {
	target := canonical(origin.Scheme, origin.Host)
	if p.port != "" && p.port == defaultPort(origin.Scheme) && target != "" && !hasPort(target) {
		target += ":" + p.port
	}
	if p.hasScheme {
		target = origin.Scheme + "://" + target
	}
	ok, _ := path.Match(p.text, target) // parsePattern has seen to errors
	return ok
}

func hasPort(host string) bool {
	return strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']')
}

// wild are the characters that mean something to path.Match.
const wild = `*?[]\^`

func parsePattern(s string) (pattern, error) {
	lower := strings.ToLower(s)
	scheme, host, hasScheme := strings.Cut(lower, "://")
	if !hasScheme {
		scheme, host = "", lower
	}
	write := func(format, instead string) error { return fmt.Errorf(format+": write %q", instead) }
	prefix := strings.TrimSuffix(lower, host)
	switch _, err := path.Match(lower, ""); {
	case s == "":
		return pattern{}, errors.New("it is empty")
	case err != nil:
		return pattern{}, errors.New("it is not a pattern of path.Match")
	case strings.ContainsAny(s, ", \t\r\n"):
		return pattern{}, errors.New("an origin has no spaces or commas: write several as elements of their own")
	case scheme == "ws" || scheme == "wss":
		return pattern{}, write("a page's scheme is http or https, although its WebSocket's is not", "http"+strings.TrimPrefix(scheme, "ws")+"://"+host)
	case strings.IndexByte(s, ']') >= 0 && strings.IndexByte(s, '[') < 0:
		return pattern{}, errors.New("a ] is there without a [")
	case hasScheme && !strings.ContainsAny(scheme, wild) && !isScheme(scheme):
		return pattern{}, fmt.Errorf("%q is not a scheme", scheme)
	case strings.IndexByte(host, '/') > 0:
		return pattern{}, write("an origin has no path", prefix+host[:strings.IndexByte(host, '/')])
	case strings.HasPrefix(host, "//") && !hasScheme:
		return pattern{}, write("a scheme is in front of the slashes, or nothing", "https:"+host)
	case strings.IndexByte(host, '@') >= 0:
		return pattern{}, write("an origin has no user", prefix+host[strings.LastIndexByte(host, '@')+1:])
	case lower == "null":
		return pattern{}, errors.New(`null is not the origin of any one page: only "*" lets such pages in`)
	case host == "" && hasScheme && scheme != "http" && scheme != "https":
		return pattern{text: lower, hasScheme: true}, nil // "file://"
	}
	host, port, err := parseHost(prefix, host, scheme == "" || scheme == "http" || scheme == "https")
	if err != nil {
		return pattern{}, err
	}
	p := pattern{text: prefix + host, hasScheme: hasScheme}
	if port == "80" || port == "443" {
		p.port = port
	}
	if port != "" {
		p.text += ":" + port
	}
	return p, nil
}

// isScheme reports whether s, in lower case, has the form of a scheme (RFC 3986 section 3.1).
func isScheme(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return s != ""
}

// parseHost reads the part of a pattern behind the scheme, in lower case. It returns patterns for the host and for the port, if
// there is one. web means that the host may be one of the web, and so must look like one.
func parseHost(prefix, s string, web bool) (host, port string, err error) {
	bare := s
	if strings.HasPrefix(s, `\[`) { // escaped, as path.Match would want it
		bare = strings.Replace(strings.Replace(s, `\[`, "[", 1), `\]`, "]", 1)
	}
	if inside, rest, ok := strings.Cut(strings.TrimPrefix(bare, "["), "]"); ok && bare[0] == '[' && isAddress(inside) {
		host, err = literal(inside)
		if port = strings.TrimPrefix(rest, ":"); err == nil && rest != "" && port == rest {
			err = errors.New("only a port can be behind an address in brackets")
		}
		if err != nil || rest == "" {
			return host, "", err
		}
		return host, port, checkPort(port)
	}
	if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
		return "", "", fmt.Errorf("an IPv6 address is in brackets: write %q", prefix+"["+ip.WithZone("").String()+"]")
	}
	host = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		if host, port = s[:i], s[i+1:]; strings.IndexByte(host, ':') >= 0 {
			return "", "", errors.New("it is neither a host nor scheme://host, with or without a port")
		}
		if err := checkPort(port); err != nil {
			return "", "", err
		}
	}
	return host, port, checkHost(host, web)
}

// isAddress reports whether what is in brackets is meant as an address, and not as characters of which one must match.
func isAddress(inside string) bool {
	_, err := netip.ParseAddr(inside)
	return err == nil || strings.Count(inside, ":") > 1
}

// literal returns the pattern for an IPv6 address, in which * and ? keep their meaning.
func literal(inside string) (string, error) {
	ip, err := netip.ParseAddr(inside)
	switch {
	case err == nil && ip.Is4():
		return "", fmt.Errorf("an IPv4 address has no brackets: write %q", inside)
	case err == nil && ip.Zone() != "":
		return "", errors.New("an origin has no zone")
	case err == nil:
		inside = ip.String()
	case !strings.ContainsAny(inside, "*?") || strings.Trim(inside, "0123456789abcdef:.*?") != "":
		return "", errors.New("what is in brackets is not an IPv6 address")
	}
	return `\[` + inside + `\]`, nil
}

// checkPort refuses what no port can match.
func checkPort(port string) error {
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case port == "":
		return errors.New("nothing is behind the colon: write it without, or with * for any port but the scheme's own")
	case err == nil && n > 0 && strconv.FormatUint(n, 10) == port:
		return nil
	case strings.ContainsAny(port, wild) && strings.Trim(port, "0123456789-"+wild) == "":
		return nil
	}
	return fmt.Errorf("%q is not a port", port)
}

// checkHost refuses what no host can match.
func checkHost(host string, web bool) error {
	for i := range len(host) {
		switch c := host[i]; {
		case c >= 0x80:
			return errors.New("browsers write the names of hosts in ASCII: write what begins with xn--")
		case !address.IsHost(host[i:i+1]) && strings.IndexByte(wild, c) < 0:
			return fmt.Errorf("no host has the character %q", c)
		}
	}
	switch {
	case host == "":
		return errors.New("it has no host")
	case strings.ContainsAny(host, wild):
		if inside, ok := strings.CutPrefix(host, "["); ok && strings.IndexByte(inside, ']') == len(inside)-1 {
			return errors.New("brackets stand for one of the characters in them: a host that is no IPv6 address has none")
		}
		return nil
	case !web:
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil && !address.IsHostName(strings.TrimSuffix(host, ".")) {
		return errors.New("no page's host has that name")
	}
	return nil
}
