package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
	"github.com/wspush/wspush/bench/internal/proc"
)

// ledger is what was pushed, and what of it has arrived: when, and at whom.
type ledger struct {
	clients int   // the first so many are pushed to
	targets int   // of each message
	size    int   // of each message, in bytes
	place   []int // of each client in a row, of which the targets of a message are a part; nil: their own order
	pids    []int // the server, whose CPU time is measured
	length  time.Duration

	start, end time.Duration // of the time that is measured
	phase      phase
	cpu        []time.Duration // of each process, when it began
	done       int             // pushes, when it began
	progress   time.Duration   // when something was last answered or received

	messages  int      // sent
	seen      []uint64 // one bit for each push: a message to one target
	latencies []time.Duration
	report    order.Report
}

type phase int8

const (
	warming phase = iota
	measuring
	draining // nothing is sent any more; answers and messages are awaited
)

// quiet is how long after the last arrival a message counts as lost.
const quiet = time.Second

func (l *loop) newLedger(o order.Order) ledger {
	now := l.now()
	g := ledger{
		clients: o.Clients, targets: max(o.Targets, 1), size: cmp.Or(o.Size, order.Size), pids: o.PIDs, length: o.For,
		start: now + o.Warm, end: now + o.Warm + o.For, progress: now,
		latencies: make([]time.Duration, 0, int(o.For.Seconds()*50_000)+1000),
		report:    order.Report{Refused: map[int]int{}},
	}
	if g.clients == 0 {
		g.clients = len(l.clients)
	}
	return g
}

// turn goes to the next phase when it is time; done is how many pushes are done.
func (g *ledger) turn(l *loop, done int) error {
	now := l.now()
	begins, ends := g.phase == warming && now >= g.start, g.phase == measuring && now >= g.end
	if !begins && !ends {
		return nil
	}
	cpu, err := g.usedCPU()
	if err != nil {
		return err
	}
	if begins {
		g.phase, g.start, g.end = measuring, now, now+g.length
		g.cpu, g.done = cpu, done
		return nil
	}
	g.phase = draining
	g.report.Elapsed, g.report.Pushes = now-g.start, done-g.done
	for i := range g.pids {
		used := cpu[i] - g.cpu[i]
		g.report.CPU += used
		g.report.CPUs = append(g.report.CPUs, used)
	}
	return nil
}

func (g *ledger) usedCPU() (all []time.Duration, err error) {
	for _, pid := range g.pids {
		cpu, err := proc.CPU(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, cpu)
	}
	return all, nil
}

// next is the number of the next message.
func (g *ledger) next() (number int) {
	number = g.messages
	g.messages++
	for len(g.seen)*64 < g.sent() {
		g.seen = append(g.seen, 0)
	}
	return number
}

// sent is how many pushes were sent.
func (g *ledger) sent() int { return g.messages * g.targets }

// appendMessage makes a message: when it began, the place of its first target, and its number.
func appendMessage(b []byte, from time.Duration, first, number int) []byte {
	end := len(b) + order.Size
	b = appendHex(b, uint64(from), 16)
	b = append(b, ' ')
	b = appendHex(b, uint64(first), 8)
	b = append(b, ' ')
	b = appendHex(b, uint64(number), 8)
	b = append(b, ' ')
	for len(b) < end {
		b = append(b, filling)
	}
	return b
}

// filling is what a message ends with.
const filling = 'x'

func appendHex(b []byte, v uint64, digits int) []byte {
	for i := digits - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[v>>(4*i)&15])
	}
	return b
}

// parseHex reads what appendHex has written.
func parseHex(b []byte) (v uint64) {
	for _, c := range b {
		d := c - '0'
		if c >= 'a' {
			d = c - 'a' + 10
		}
		v = v<<4 | uint64(d)
	}
	return v
}

// arrived takes a message of this size that has come to a client. Of a large one, it gets only the beginning.
func (g *ledger) arrived(l *loop, index int, message []byte, size int) {
	now := l.now()
	g.progress = now
	if size != g.size || index >= g.clients {
		g.report.Stray++
		return
	}
	from, first, number := time.Duration(parseHex(message[:16])), parseHex(message[17:25]), parseHex(message[26:34])
	if g.place != nil {
		index = g.place[index]
	}
	which := index - int(first) // of the targets
	if which < 0 {
		which += g.clients
	}
	if which < 0 || which >= g.targets || number >= uint64(g.messages) {
		g.report.Stray++
		return
	}
	push := number*uint64(g.targets) + uint64(which)
	if g.seen[push/64]>>(push%64)&1 != 0 {
		g.report.Twice++
		return
	}
	g.seen[push/64] |= 1 << (push % 64)
	g.report.Received++
	if from >= g.start && from < g.end && g.phase != warming {
		g.latencies = append(g.latencies, now-from)
	}
}

// conclude makes the report.
func (g *ledger) conclude() *order.Report {
	r := &g.report
	slices.Sort(g.latencies)
	if r.Samples = len(g.latencies); r.Samples > 0 {
		r.P50 = g.latencies[r.Samples/2]
		r.P99 = g.latencies[r.Samples*99/100]
	}
	return r
}
