package wspush

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/address"
)

// hopHeader carries the proof by which a worker shows another that it has admitted a request, and the other that the answer
// is its own. It is opaque to everyone else.
const hopHeader = "Wspush-Hop"

// hopSkew is how far two workers' clocks may be apart. Someone who has seen a proof can use it for twice as long, but only
// for a request to the same worker that differs at most in its body.
const hopSkew = 5 * time.Minute

// hop is the kind of a request from another worker.
type hop string

const (
	noHop        hop = ""
	hopHTTP      hop = "http"      // for a publisher
	hopInProcess hop = "inprocess" // for its own process, which knows no path
	hopProbe     hop = "probe"     // to find out which worker answers
)

var (
	errHop      = errors.New("the request is not from a worker with the same keys")
	errHopClock = errors.New("the request is from a worker whose clock is minutes off")
)

// proveHop makes the proof that accompanies a request to the worker with that address.
func (c *cluster) proveHop(kind hop, address, method, name, query string) (header, proof string) {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	proof = c.keys.Prove(hopMessage(kind, at, address, method, name, query))
	return strings.Join([]string{string(kind), at, address, proof}, " "), proof
}

// hopMessage is what the proof covers: a request to this worker, with this method, connection and query. So anyone who sees
// a proof, such as a process that now listens where a worker did, can use it for nothing else.
func hopMessage(kind hop, at, address, method, name, query string) string {
	return strings.Join([]string{"request", string(kind), at, address, method, name, query}, "\n")
}

// proveAnswer returns the header that proves which worker answers the request with this proof.
func (c *cluster) proveAnswer(proof string) string {
	instance := strconv.FormatUint(c.instance, 16)
	return instance + " " + c.keys.Prove(answerMessage(instance, proof))
}

func answerMessage(instance, proof string) string {
	return strings.Join([]string{"answer", instance, proof}, "\n")
}

// verifyAnswer returns which worker answered the request with this proof, if it has the same keys.
func (c *cluster) verifyAnswer(header http.Header, proof string) (instance uint64, ok bool) {
	text, answerProof, _ := strings.Cut(header.Get(hopHeader), " ")
	if !c.keys.Verify(answerMessage(text, proof), answerProof) {
		return 0, false
	}
	instance, err := strconv.ParseUint(text, 16, 64)
	return instance, err == nil
}

// readHop reads whether another worker sent the request, and if so proves the answer. Without a Cluster it returns noHop.
func (w *Worker) readHop(answer http.Header, r *http.Request) (hop, error) {
	header := r.Header.Get(hopHeader)
	if header == "" || w.cluster == nil {
		return noHop, nil
	}
	fields := strings.Split(header, " ")
	if len(fields) != 4 {
		return noHop, errHop
	}
	name := address.LastSegment(r)
	kind, at, address, proof := hop(fields[0]), fields[1], fields[2], fields[3]
	if !w.cluster.keys.Verify(hopMessage(kind, at, address, r.Method, name, r.URL.RawQuery), proof) {
		return noHop, errHop
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > hopSkew {
		return noHop, errHopClock
	}
	answer.Set(hopHeader, w.cluster.proveAnswer(proof))
	if address != w.cluster.address {
		return noHop, errLoop
	}
	return kind, nil
}
