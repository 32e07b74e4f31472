package wspush

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/testutil"
)

// A proof is good for the request that it was made for, and for as long as clocks may be apart.
func TestHopProof(t *testing.T) {
	c, err := newCluster(&Cluster{Keys: [][]byte{testutil.Key("k")}}, []address.Base{{Scheme: "http://", Rest: "127.0.0.1:1"}}, "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.transport.CloseIdleConnections()
	w := &Worker{cluster: c}
	prove := func(kind hop, age time.Duration) string {
		at := strconv.FormatInt(time.Now().Add(-age).Unix(), 10)
		return string(kind) + " " + at + " " + c.address + " " + c.keys.Prove(hopMessage(kind, at, c.address, "POST", "v1.token", "type=text"))
	}
	elsewhere, _ := c.proveHop(hopHTTP, "http://127.0.0.1:2", "POST", "v1.token", "type=text")
	for _, tt := range []struct {
		header, method, target string
		want                   hop
		err                    error
	}{
		{prove(hopHTTP, 0), "POST", "/ws/@connections/v1.token?type=text", hopHTTP, nil},
		{prove(hopHTTP, 0), "POST", "/elsewhere/@connections/v1.token?type=text", hopHTTP, nil}, // where a proxy may have put it
		{prove(hopInProcess, 4*time.Minute), "POST", "/@connections/v1.token?type=text", hopInProcess, nil},
		{prove(hopHTTP, -4*time.Minute), "POST", "/ws/@connections/v1.token?type=text", hopHTTP, nil},
		{"", "POST", "/ws/@connections/v1.token?type=text", noHop, nil},
		{prove(hopHTTP, 6*time.Minute), "POST", "/ws/@connections/v1.token?type=text", noHop, errHopClock},
		{prove(hopHTTP, -6*time.Minute), "POST", "/ws/@connections/v1.token?type=text", noHop, errHopClock},
		{prove(hopHTTP, 0), "GET", "/ws/@connections/v1.token?type=text", noHop, errHop},
		{prove(hopHTTP, 0), "POST", "/ws/@connections/v1.another?type=text", noHop, errHop},
		{prove(hopHTTP, 0), "POST", "/ws/@connections/v1.token?type=binary", noHop, errHop},
		{prove(hopHTTP, 0), "POST", "/ws/@connections/v1.token", noHop, errHop},
		{elsewhere, "POST", "/ws/@connections/v1.token?type=text", noHop, errLoop},
		{"inprocess" + prove(hopHTTP, 0)[4:], "POST", "/ws/@connections/v1.token?type=text", noHop, errHop},
		{"x", "POST", "/ws/@connections/v1.token?type=text", noHop, errHop},
	} {
		r := httptest.NewRequest(tt.method, tt.target, nil)
		r.Header.Set(hopHeader, tt.header)
		answer := http.Header{}
		got, err := w.readHop(answer, r)
		if got != tt.want || err != tt.err || (answer.Get(hopHeader) != "") != (got != noHop || err == errLoop) {
			t.Errorf("%s %s %q: %q, %v", tt.method, tt.target, tt.header, got, err)
		}
	}
}
