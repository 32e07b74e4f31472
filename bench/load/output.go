package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// output is what a publisher sends on its connection.
type output struct {
	fd      int
	out     []byte // what is to be written, from written on
	written int
	blocked bool // it is watched for room to write
}

// flush writes what there is room for, and has the rest wait for more.
func (o *output) flush(l *loop, index int) error {
	for o.written < len(o.out) {
		n, err := unix.Write(o.fd, o.out[o.written:])
		switch err {
		case nil:
			o.written += n
		case unix.EINTR:
		case unix.EAGAIN:
			return o.watch(l, index, true)
		default:
			return fmt.Errorf("a publisher's connection: %w", err)
		}
	}
	o.out, o.written = o.out[:0], 0
	return o.watch(l, index, false)
}

// watch has the publisher served also when there is room to write, or only when there is something to read.
func (o *output) watch(l *loop, index int, blocked bool) error {
	if o.blocked == blocked {
		return nil
	}
	o.blocked = blocked
	events := uint32(unix.EPOLLIN)
	if blocked {
		events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, o.fd, &unix.EpollEvent{Events: events, Fd: int32(index), Pad: isPublisher})
}
