package socket

import (
	"sync/atomic"

	"github.com/wspush/wspush/internal/timing"
)

// Traffic is what has passed through the sockets of one worker so far.
type Traffic struct {
	BytesIn   uint64        // from clients, after the handshake: frames of every kind
	BytesOut  uint64        // to clients
	Pings     uint64        // that have been written
	Pongs     uint64        // that answered one of them
	Latency   timing.Counts // of messages: from Start until the last byte was written
	RoundTrip timing.Counts // of pings: from the write until the pong
}

// traffic counts it in stripes, one for each socket in turn, so that processors do not wait for each other in order to count.
type traffic struct {
	stripes [16]stripe
	next    atomic.Uint32 // gives sockets their stripes in turn
}

type stripe struct {
	in, out, pings, pongs atomic.Uint64
	latency, roundTrip    timing.Recorder
	_                     [64]byte // keeps the next stripe off this one's cache lines
}

func (t *traffic) stripe() *stripe { return &t.stripes[t.next.Add(1)%uint32(len(t.stripes))] }

// Traffic returns what has passed through the sockets so far. The numbers are not all of the same instant.
func (s *Shared) Traffic() Traffic {
	var sum Traffic
	for i := range s.traffic.stripes {
		t := &s.traffic.stripes[i]
		sum.BytesIn += t.in.Load()
		sum.BytesOut += t.out.Load()
		sum.Pings += t.pings.Load()
		sum.Pongs += t.pongs.Load()
		t.latency.AddTo(&sum.Latency)
		t.roundTrip.AddTo(&sum.RoundTrip)
	}
	return sum
}
