package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// sessions is the group of what is measured of clients that come back to their sessions.
const sessions = "sessions"

// awayMessages is how many messages a client gets before it is cut off, and as many while it is away.
const awayMessages = 3

// returnMetrics are those of clients that come back to the other one of two workers, which have an engine in common, or none.
func returnMetrics(name string) (all []string) {
	for _, what := range []string{"p50", "p50" + added, "p99", "p99" + added, "cpu", "former", "later", "link", "retries"} {
		all = append(all, name+"-return-"+what)
	}
	if engines[name] != nil {
		all = append(all, name+"-return-engine")
	}
	return all
}

// startDuo starts two workers with sessions, and the engine, if there is to be one.
func (r *run) startDuo(ctx context.Context, through string) (workers []*host, e *engine, stop func(), err error) {
	stop = func() {
		for _, w := range workers {
			w.close()
		}
		if e != nil {
			e.stop()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	pushes, err := freeAddrs(2)
	if err != nil {
		return workers, e, stop, err
	}
	url := strings.Join(pushes, ",")
	if start := engines[through]; start != nil {
		if e, err = start(ctx, r); err != nil {
			return workers, e, stop, err
		}
		url = e.url
	}
	for _, push := range pushes {
		h, err := startGo(ctx, "wspush", r.program("users"), pingRarely, "-push", push, "-through", url, "-resume", "5m")
		if err != nil {
			return workers, e, stop, err
		}
		workers = append(workers, h)
	}
	return workers, e, stop, nil
}

// runReturns measures clients with sessions that come back to the worker where they were, and then to another one.
func runReturns(through string) func(context.Context, *run, server) error {
	return func(ctx context.Context, r *run, _ server) error {
		workers, e, stop, err := r.startDuo(ctx, through)
		if err != nil {
			return err
		}
		defer stop()
		if err := sleep(ctx, r.plan.acquainted); err != nil {
			return err
		}
		pids := []int{workers[0].pid, workers[1].pid}
		if e != nil {
			pids = append(pids, e.pid)
		}
		returns, err := r.comeBack(ctx, workers, pids)
		if err != nil {
			return err
		}
		here, there := returns[0], returns[1]
		n := r.plan.returning
		metric := through + "-return-"
		each := func(d time.Duration) float64 { return micro(d) / float64(n) }
		for _, of := range []struct {
			what        string
			here, there time.Duration
		}{{"p50", here.P50, there.P50}, {"p99", here.P99, there.P99}} {
			r.add(metric+of.what, "wspush here", n, micro(of.here))
			r.add(metric+of.what, "wspush", n, micro(of.there))
			r.add(metric+of.what+added, "wspush", n, micro(of.there-of.here))
		}
		r.add(metric+"cpu", "wspush here", n, each(here.CPUs[0]+here.CPUs[1]))
		r.add(metric+"cpu", "wspush", n, each(there.CPUs[0]+there.CPUs[1]))
		r.add(metric+"former", "wspush", n, each(there.CPUs[0]))
		r.add(metric+"later", "wspush", n, each(there.CPUs[1]))
		r.add(metric+"link", "wspush", n, float64(there.Bytes)/float64(n))
		r.add(metric+"retries", "wspush", n, float64(there.Retries))
		if e != nil {
			r.add(metric+"engine", "wspush", n, each(there.CPUs[2]))
		}
		return nil
	}
}

// comeBack has the clients come back, to the first worker and then to the second.
func (r *run) comeBack(ctx context.Context, workers []*host, pids []int) (returns [2]order.Returns, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute+2*r.plan.spread)
	defer cancel()
	var list []string
	for _, pid := range pids {
		list = append(list, strconv.Itoa(pid))
	}
	cmd := exec.CommandContext(ctx, r.program("returns"), "-n", strconv.Itoa(r.plan.returning), "-from", workers[0].addr, "-to", workers[1].addr,
		"-messages", strconv.Itoa(awayMessages), "-spread", r.plan.spread.String(), "-pids", strings.Join(list, ","))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Stderr = os.Stderr
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	if err := cmd.Run(); err != nil {
		return returns, fmt.Errorf("returns: %w", err)
	}
	return returns, json.Unmarshal(stdout.Bytes(), &returns)
}
