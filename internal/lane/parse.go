package lane

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// parse makes the request of a plain push out of its bytes, all of them, as http.ReadRequest would: r has what is the same for all
// requests of the connection. It reports whether there is one: plainPush does not look at everything, not at the path, for example.
func (p *push) parse(r *http.Request, raw []byte) bool {
	// All strings are parts of one, which nothing else has: the application may keep them.
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	line, lines, _ := strings.Cut(head, "\r\n")
	r.RequestURI = line[len("POST ") : len(line)-len(" HTTP/1.1")]
	if strings.Contains(r.RequestURI, " ") {
		return false
	}
	var err error
	if r.URL, err = url.ParseRequestURI(r.RequestURI); err != nil {
		return false
	}
	n := strings.Count(lines, "\r\n") + 1
	r.Header = make(http.Header, n)
	all := make([]string, 0, n) // the values, of which most names have one
	for len(lines) > 0 {
		line, lines, _ = strings.Cut(lines, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		name, value = textproto.CanonicalMIMEHeaderKey(name), strings.Trim(value, " ")
		if values, ok := r.Header[name]; ok {
			r.Header[name] = append(values, value)
			continue
		}
		all = append(all, value)
		r.Header[name] = all[len(all)-1 : len(all) : len(all)]
	}
	r.Host = r.Header["Host"][0]
	delete(r.Header, "Host") // as net/http does
	r.ContentLength = int64(len(body))
	if r.Body = http.NoBody; body != "" {
		p.body.left = body
		r.Body = &p.body
	}
	return true
}
