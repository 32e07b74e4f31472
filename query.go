package wspush

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// pushQuery is what the query of a push asks for.
type pushQuery struct {
	typ     MessageType // 0: the content type decides
	confirm bool
	timeout time.Duration // 0: the default
}

const (
	defaultConfirmTimeout = 5 * time.Second
	maxTimeout            = 30 * time.Second // that a publisher can ask for
)

// confirmReceived is what asks for a push to be confirmed.
const confirmReceived = "received"

var (
	errConfirm = errors.New("confirm must be " + confirmReceived)
	errTimeout = errors.New(`timeout must be a positive duration, such as "5s" or "1500ms"`)
)

// parseTimeout reads how long a push may wait.
func parseTimeout(s string) (time.Duration, error) {
	timeout, err := time.ParseDuration(s)
	if err != nil || timeout <= 0 {
		return 0, errTimeout
	}
	return min(timeout, maxTimeout), nil
}

// readPushQuery reads the query of a push. A parameter that is there twice must say the same twice.
func readPushQuery(raw string) (q pushQuery, _ *problem) {
	if raw == "" {
		return q, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, newProblem(http.StatusBadRequest, "the query is malformed")
	}
	if asked := slices.Compact(values["type"]); len(asked) > 0 {
		switch {
		case len(asked) == 1 && asked[0] == "text":
			q.typ = Text
		case len(asked) == 1 && asked[0] == "binary":
			q.typ = Binary
		default:
			return q, newProblem(http.StatusBadRequest, "type must be text or binary")
		}
	}
	if asked := slices.Compact(values["confirm"]); len(asked) > 0 {
		if q.confirm = len(asked) == 1 && asked[0] == confirmReceived; !q.confirm {
			return q, newProblem(http.StatusBadRequest, errConfirm.Error())
		}
	}
	if asked := slices.Compact(values["timeout"]); len(asked) > 0 {
		q.timeout, err = parseTimeout(asked[0])
		if len(asked) > 1 || err != nil {
			return q, newProblem(http.StatusBadRequest, errTimeout.Error())
		}
	}
	return q, nil
}

// messageType decides between text and binary by what the request says, with one exception that looks at the body.
func messageType(r *http.Request, asked MessageType, body []byte) MessageType {
	if asked != 0 {
		return asked
	}
	// SDKs of API Gateway call every body octet-stream, and API Gateway delivers it as text.
	if isAmazon(r) {
		if utf8.Valid(body) {
			return Text
		}
		return Binary
	}
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if isBinary(strings.ToLower(strings.TrimSpace(media))) {
		return Binary
	}
	return Text
}

// amazonScheme is how SDKs of API Gateway authorize what they send.
const amazonScheme = "AWS4-HMAC-SHA256"

func isAmazon(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Authorization"), amazonScheme)
}

// isBinary reports whether a media type, in lower case and without parameters, means a binary message.
func isBinary(media string) bool {
	kind, sub, _ := strings.Cut(media, "/")
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
