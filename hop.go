package wspush

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/address"
)

// hopHeader is the header by which a worker proves to another that it has let a request in, and the other that the answer is
// its own. To anyone else it says nothing.
const hopHeader = "Wspush-Hop"

// hopSkew is how far the clocks of two workers may be apart. A proof that somebody has seen is good for twice that: for a request
// to the same worker that is the same but for its body.
const hopSkew = 5 * time.Minute

// hop is a request that another worker has sent.
type hop string

const (
	noHop        hop = ""
	hopHTTP      hop = "http"      // for a publisher
	hopInProcess hop = "inprocess" // for its own process: it knows no path
	hopProbe     hop = "probe"     // to find out who answers
)

var (
	errHop      = errors.New("the request is not from a worker with the same keys")
	errHopClock = errors.New("the request is from a worker whose clock is minutes off")
)

// proveHop makes the proof that goes with a request to the worker with that address.
func (c *cluster) proveHop(kind hop, address, method, name, query string) (header, proof string) {
	at := strconv.FormatInt(time.Now().Unix(), 10)
	proof = c.keys.Prove(hopMessage(kind, at, address, method, name, query))
	return strings.Join([]string{string(kind), at, address, proof}, " "), proof
}

// hopMessage is what the proof is of: a request to this worker, with this method, that names this connection, and has this
// query. So whoever gets to see one, such as what listens now where a worker did, can use it nowhere else.
func hopMessage(kind hop, at, address, method, name, query string) string {
	return strings.Join([]string{"request", string(kind), at, address, method, name, query}, "\n")
}

// proveAnswer makes the header of the answer to a request with this proof: who answers.
func (c *cluster) proveAnswer(proof string) string {
	instance := strconv.FormatUint(c.instance, 16)
	return instance + " " + c.keys.Prove(answerMessage(instance, proof))
}

func answerMessage(instance, proof string) string {
	return strings.Join([]string{"answer", instance, proof}, "\n")
}

// verifyAnswer returns who has answered a request with this proof, if that is a worker with the same keys.
func (c *cluster) verifyAnswer(header http.Header, proof string) (instance uint64, ok bool) {
	text, answerProof, _ := strings.Cut(header.Get(hopHeader), " ")
	if !c.keys.Verify(answerMessage(text, proof), answerProof) {
		return 0, false
	}
	instance, err := strconv.ParseUint(text, 16, 64)
	return instance, err == nil
}

// readHop reads whether another worker has sent the request, and if so proves the answer. Without a Cluster nobody can.
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
