package wspush

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/wire"
)

// checkContent refuses a push whose body is not the message itself, by what the header says of it: it is compressed, or is text in
// another charset than that of a WebSocket's text messages, or consists of parts. asked is the type in the query, or 0.
func checkContent(r *http.Request, asked MessageType) *problem {
	if p := checkCoding(r.Header); p != nil {
		return p
	}
	kinds := r.Header["Content-Type"]
	if len(kinds) == 0 {
		return nil
	}
	media, params, hasParams := strings.Cut(kinds[0], ";")
	switch {
	case len(kinds) > 1 || strings.Contains(media, ","): // which something on the way may have joined
		return unsupportedMedia("there is more than one Content-Type", messageMedia)
	case isMultipart(media):
		return unsupportedMedia("a multipart body is not taken apart: send the message itself as the body", messageMedia)
	case !hasParams, asked == Binary, asked == 0 && isBinary(media) && !isAmazon(r): // whose charset is the client's affair
		return nil
	case !areUTF8(params):
		return unsupportedMedia("a text message is UTF-8, and no other charset is understood: send the text as UTF-8, or other bytes with ?type=binary", messageMedia)
	}
	return nil
}

// checkCoding refuses a body that has a coding.
func checkCoding(h http.Header) *problem {
	for _, line := range h["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.Trim(coding, " \t"); coding != "" && !strings.EqualFold(coding, "identity") {
				p := newProblem(http.StatusUnsupportedMediaType, "a body with a Content-Encoding, compressed for example, is not understood: send it as it is")
				p.header.Set("Accept-Encoding", "identity") // RFC 9110 section 12.5.3
				return p
			}
		}
	}
	return nil
}

// The values of Accept in answers with 415: examples of what is understood.
const (
	messageMedia = "text/plain;charset=utf-8, application/json, application/octet-stream"
	bulkMedia    = wire.NDJSON
)

// unsupportedMedia is the answer to a request whose media type is not understood. It must not have Accept-Encoding (RFC 9110 section
// 12.5.3).
func unsupportedMedia(detail, accept string) *problem {
	p := newProblem(http.StatusUnsupportedMediaType, detail)
	p.header.Set("Accept", accept)
	return p
}

func isMultipart(media string) bool {
	const prefix = "multipart/"
	media = strings.TrimSpace(media)
	return len(media) >= len(prefix) && strings.EqualFold(media[:len(prefix)], prefix)
}

// areUTF8 reports whether no charset in the parameters of a media type is another than UTF-8. It is not strict about anything else,
// since unknown and even malformed types have always been text.
func areUTF8(params string) bool {
	for params != "" {
		var param string
		param, params = cutParameter(params)
		name, value, _ := strings.Cut(param, "=")
		name = strings.TrimSuffix(strings.TrimSpace(name), "*") // RFC 8187, which nobody uses here
		if strings.EqualFold(name, "charset") && !isUTF8(unquoted(strings.TrimSpace(value))) {
			return false
		}
	}
	return true
}

// cutParameter cuts off the first of the parameters of a media type.
func cutParameter(params string) (first, rest string) {
	isQuoted := false
	for i := 0; i < len(params); i++ {
		switch c := params[i]; {
		case c == '"':
			isQuoted = !isQuoted
		case c == '\\' && isQuoted:
			i++
		case c == ';' && !isQuoted:
			return params[:i], params[i+1:]
		}
	}
	return params, ""
}

// unquoted returns the value of a parameter without the quotes that it may have.
func unquoted(value string) string {
	if !strings.HasPrefix(value, `"`) {
		return value
	}
	return strings.ReplaceAll(strings.Trim(value, `"`), `\`, "")
}

// isUTF8 reports whether text in a charset is UTF-8, which US-ASCII is a part of. No name means that nothing is said.
func isUTF8(charset string) bool {
	switch len(charset) {
	case 0:
		return true
	case len("utf8"):
		return strings.EqualFold(charset, "utf8")
	case len("utf-8"):
		return strings.EqualFold(charset, "utf-8")
	}
	return strings.EqualFold(charset, "us-ascii")
}

// messageType chooses text or binary by the request, except that for API Gateway's SDKs it looks at the body.
func messageType(r *http.Request, asked MessageType, body []byte) MessageType {
	if asked != 0 {
		return asked
	}
	// API Gateway's SDKs call every body octet-stream, and API Gateway delivers it as text.
	if isAmazon(r) {
		if utf8.Valid(body) {
			return Text
		}
		return Binary
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if isBinary(media) {
		return Binary
	}
	return Text
}

// amazonScheme is how API Gateway's SDKs authorize their requests.
const amazonScheme = "AWS4-HMAC-SHA256"

func isAmazon(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Authorization"), amazonScheme)
}

// isBinary reports whether a media type, without its parameters, means a binary message.
func isBinary(media string) bool {
	kind, sub, _ := strings.Cut(strings.ToLower(strings.TrimSpace(media)), "/")
	switch kind {
	case "image", "audio", "video", "font":
		return sub != ""
	case "application":
		switch sub {
		case "octet-stream", "protobuf", "x-protobuf", "msgpack", "x-msgpack", "cbor", "zip", "gzip", "pdf", "wasm":
			return true
		}
	}
	return false
}
