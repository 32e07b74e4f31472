package main

import (
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wspush/wspush/bench/internal/order"
)

// What a descriptor in the epoll set is; its index goes with it.
const (
	isWake = iota
	isTimer
	isClient
	isPublisher
)

// loop owns everything: it runs in one thread, and nothing else touches its fields.
type loop struct {
	epoll int
	wake  int // an eventfd: an order is there
	timer int // a timerfd: a push is due
	out   *json.Encoder
	begin time.Time
	buf   []byte // what is being read, of whichever socket

	clients []client // never moved while it has connections: grown only by connecting
	closed  int      // how many have ended that should not have
	why     string   // the first of them
	task    task     // nil between orders
}

// task is an order being carried out.
type task interface {
	// step is called after every turn of the loop. It returns the report when there is nothing more to do.
	step(l *loop) (*order.Report, error)
}

// tick is the longest that a task waits for its next step.
const tick = 5 // ms

func newLoop(out *json.Encoder) (*loop, error) {
	l := &loop{out: out, begin: time.Now(), buf: make([]byte, 256<<10)}
	var err error
	if l.epoll, err = unix.EpollCreate1(0); err != nil {
		return nil, err
	}
	if l.wake, err = unix.Eventfd(0, 0); err != nil {
		return nil, err
	}
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK); err != nil {
		return nil, err
	}
	if err := l.watch(l.wake, isWake, 0); err != nil {
		return nil, err
	}
	return l, l.watch(l.timer, isTimer, 0)
}

// now is the time since the loop began.
func (l *loop) now() time.Duration { return time.Since(l.begin) }

func (l *loop) watch(fd, kind, index int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(index), Pad: int32(kind)})
}

// run carries out orders for ever.
func (l *loop) run(orders <-chan order.Order) error {
	events := make([]unix.EpollEvent, 256)
	for {
		wait := -1
		if l.task != nil {
			wait = tick
		}
		n, err := unix.EpollWait(l.epoll, events, wait)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			switch e.Pad {
			case isClient:
				l.readClient(int(e.Fd))
			case isPublisher:
				switch t := l.task.(type) {
				case *pushing:
					t.readPublisher(l, int(e.Fd))
				case *stalling:
					t.readPublisher(l, int(e.Fd))
				case *bulking:
					t.serve(l, int(e.Fd))
				}
			case isTimer:
				_, _ = unix.Read(l.timer, l.buf[:8]) // the step sees that it is time
			case isWake:
				_, _ = unix.Read(l.wake, l.buf[:8])
				l.take(<-orders)
			}
		}
		if l.task == nil {
			continue
		}
		report, err := l.task.step(l)
		if report == nil && err == nil {
			continue
		}
		l.answer(report, err)
	}
}

// take begins an order.
func (l *loop) take(o order.Order) {
	var err error
	switch o.Do {
	case order.Connect, order.Storm:
		l.task, err = l.newConnecting(o)
	case order.Push:
		l.task, err = l.newPushing(o)
	case order.Bulk:
		l.task, err = l.newBulking(o)
	case order.Stall:
		l.task, err = l.newStalling(o)
	case order.Count:
		l.answer(l.count(o.Reset), nil)
	default:
		err = fmt.Errorf("unknown order %q", o.Do)
	}
	if err != nil {
		l.answer(nil, err)
	}
}

// answer ends the order.
func (l *loop) answer(r *order.Report, err error) {
	l.task = nil
	if err != nil {
		r = &order.Report{Error: err.Error()}
	}
	r.Closed, r.Why = l.closed, l.why
	if err := l.out.Encode(r); err != nil {
		panic(err) // the benchmark is gone
	}
}

// alarm wakes the loop when the next push is due.
func (l *loop) alarm(in time.Duration) error {
	return unix.TimerfdSettime(l.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(in))}, nil)
}

// count tells what has arrived.
func (l *loop) count(reset bool) *order.Report {
	r := &order.Report{}
	for i := range l.clients {
		c := &l.clients[i]
		if i == 0 {
			r.First, r.MinPings = c.messages, c.pings
		}
		r.Messages += c.messages
		r.Pings += c.pings
		r.MinPings = min(r.MinPings, c.pings)
		r.MaxPings = max(r.MaxPings, c.pings)
		if reset {
			c.messages, c.pings = 0, 0
		}
	}
	return r
}
