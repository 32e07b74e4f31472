package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// loader is a load generator under way.
type loader struct {
	process *process
	answers chan answer
}

type answer struct {
	report order.Report
	err    error
}

func startLoader(path string) (*loader, error) {
	p, err := spawn(syscall.SIGKILL, path)
	if err != nil {
		return nil, err
	}
	l := &loader{p, make(chan answer, 1)}
	go l.read()
	return l, nil
}

// read reads the reports; there is one for each order.
func (l *loader) read() {
	lines := bufio.NewScanner(l.process.stdout)
	for lines.Scan() {
		var a answer
		a.err = json.Unmarshal(lines.Bytes(), &a.report)
		l.answers <- a
	}
	l.answers <- answer{err: errors.New("the load generator has ended")}
}

// stop ends the load generator, and with it all of its connections.
func (l *loader) stop() {
	go func() { // what it may still say, so that read can end
		for range l.answers {
		}
	}()
	l.process.stop(syscall.SIGKILL)
}

// do has an order carried out, which takes about so long.
func (l *loader) do(ctx context.Context, o order.Order, takes time.Duration) (order.Report, error) {
	line, err := json.Marshal(o)
	if err != nil {
		return order.Report{}, err
	}
	if _, err := l.process.stdin.Write(append(line, '\n')); err != nil {
		return order.Report{}, err
	}
	limit := takes + time.Minute
	select {
	case a := <-l.answers:
		err = a.err
		switch {
		case err != nil:
		case a.report.Error != "":
			err = errors.New(a.report.Error)
		case a.report.Closed > 0:
			err = fmt.Errorf("%d connections have ended, the first of them so: %s", a.report.Closed, a.report.Why)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", o.Do, err)
		}
		return a.report, err
	case <-time.After(limit):
		return order.Report{}, fmt.Errorf("%s: the load generator has not answered in %v", o.Do, limit)
	case <-ctx.Done():
		return order.Report{}, ctx.Err()
	}
}

// connect opens n connections more, and returns where to push to the first of all.
func (l *loader) connect(ctx context.Context, h *host, n int) (string, error) {
	r, err := l.do(ctx, order.Order{Do: order.Connect, Addr: h.addr, Path: h.path, Push: h.push, N: n}, 0)
	return r.URL, err
}

// storm opens and closes n connections.
func (l *loader) storm(ctx context.Context, h *host, n int) error {
	_, err := l.do(ctx, order.Order{Do: order.Storm, Addr: h.addr, Path: h.path, Push: h.push, N: n}, 0)
	return err
}

// count tells what has arrived since it was last told to reset.
func (l *loader) count(ctx context.Context, reset bool) (order.Report, error) {
	return l.do(ctx, order.Order{Do: order.Count, Reset: reset}, 0)
}
