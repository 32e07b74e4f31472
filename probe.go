package wspush

import (
	"encoding/json"
	"net/http"
)

// readiness is all that a probe learns, which needs neither an ID nor a credential.
type readiness struct {
	TakesPushes bool `json:"takesPushes"` // to the connections that are left, while it drains
	Draining    bool `json:"draining"`
}

// probe tells what balances load, or starts and stops workers, whether to send new requests here. An answer of 503 is no problem of a
// publisher's, to be counted or logged.
func (w *Worker) probe() response {
	hasFailed := w.Failed() != nil // though who asks has come some other way, or before
	is := readiness{TakesPushes: !w.roster.isEmpty() && !hasFailed, Draining: w.Draining()}
	body, err := json.Marshal(is)
	if err != nil {
		panic(err) // two bools
	}
	header := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}
	res := response{status: http.StatusOK, header: header, body: body, isProbe: true}
	if is.Draining || hasFailed {
		res.status = http.StatusServiceUnavailable
	}
	return res
}
