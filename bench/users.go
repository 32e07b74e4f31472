package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// users is the group of what is measured of pushes to users and groups.
const users = "users"

var (
	userMetrics      = []string{"user-cpu", "user-p50", "user-p50-added"}
	groupMetrics     = []string{"group-cpu"}
	groupOverMetrics = []string{"group-over-cpu", "group-over-links"}
)

// throughMetrics are those of three workers that find each other's users through an engine, or among peers.
func throughMetrics(name string) (all []string) {
	for _, where := range []string{"here", "there"} {
		for _, what := range []string{"cpu", "p50", "p50" + added} {
			all = append(all, name+"-"+where+"-"+what)
		}
	}
	if name == "redis" {
		all = append(all, "redis-lookups")
	}
	return all
}

// userPath is where clients connect: the number of the client is the user's name.
const userPath = "/ws/%d"

// userWay is a way to push to a client.
type userWay struct {
	series string
	to     string // where to push to a client, with %d; empty: to its address
}

// userWays are by name and by address. The host does not matter: the order says where.
var userWays = []userWay{{"wspush", "http://users/@users/%d"}, {"wspush address", ""}}

// measureUsers measures pushes to users at a worker and, in turn, to the same connections by their addresses.
func (r *run) measureUsers(ctx context.Context, h *host, l *loader, at, metric string) error {
	p50 := map[string]float64{}
	for i := range userWays {
		way := userWays[(i+r.round)%len(userWays)]
		push := func(rate float64, d time.Duration) (order.Report, error) {
			report, err := r.watch(ctx, h, l, order.Order{
				Do: order.Push, At: at, Push: way.to, Publishers: publishers, Rate: rate, Warm: r.plan.warm, For: d, PIDs: h.pids(),
			})
			if err != nil {
				err = fmt.Errorf("%s: %s: %w", metric, way.series, err)
			}
			return report, err
		}
		if r.wants(metric + "-cpu") {
			report, err := push(0, r.plan.push)
			if err != nil {
				return err
			}
			r.add(metric+"-cpu", way.series, r.plan.posted, micro(report.CPU)/float64(report.Pushes))
		}
		if r.wants(metric+"-p50", metric+"-p50"+added) {
			report, err := push(pace, 2*r.plan.push)
			if err != nil {
				return err
			}
			p50[way.series] = micro(report.P50)
			r.add(metric+"-p50", way.series, r.plan.posted, micro(report.P50))
		}
	}
	if len(p50) > 0 {
		r.add(metric+"-p50"+added, "wspush", r.plan.posted, p50["wspush"]-p50["wspush address"])
	}
	return nil
}

// startAlone starts one worker, without a directory.
func (r *run) startAlone(push *string) func(context.Context, time.Duration) (*host, error) {
	return func(ctx context.Context, ping time.Duration) (_ *host, err error) {
		if *push, err = freeAddr(); err != nil {
			return nil, err
		}
		h, err := startGo(ctx, "wspush", r.program("users"), ping, "-push", *push)
		if err == nil {
			h.path = userPath
		}
		return h, err
	}
}

// runUsers measures a push to a user with one connection where there is one worker.
func runUsers(ctx context.Context, r *run, s server) error {
	var push string
	s.start = r.startAlone(&push)
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		return r.measureUsers(ctx, h, l, push, "user")
	})
}

// runGroups measures a message to a group that everybody is in, and in turn one to all of the same connections.
func runGroups(ctx context.Context, r *run, s server) error {
	var push string
	s.start = r.startAlone(&push)
	return r.under(ctx, s, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		ways := []struct{ series, path string }{{"wspush", "/bench/group"}, {"wspush PushEach", "/bench/broadcast"}}
		each := map[string][]float64{}
		for i := range 2 * attempts {
			way := ways[(i+r.round)%len(ways)]
			took, err := r.toEverybody(ctx, h, l, way.path, order.Size, r.plan.broadcast/attempts)
			if err != nil {
				return err
			}
			each[way.series] = append(each[way.series], micro(took))
		}
		for _, way := range ways {
			slices.Sort(each[way.series])
			r.add("group-cpu", way.series, r.plan.posted, each[way.series][attempts/2])
		}
		return nil
	})
}

// trio is three workers that find each other's users.
type trio struct {
	*host // the first, with the processes of all

	workers []*host
	pushes  []string // where each is pushed to
	engine  *engine  // nil with peers
}

// startTrio starts the engine, if there is to be one, and the workers.
func (r *run) startTrio(ctx context.Context, through string, ping time.Duration) (_ *trio, err error) {
	t := &trio{}
	defer func() {
		if err != nil {
			t.stop()
		}
	}()
	if t.pushes, err = freeAddrs(3); err != nil {
		return nil, err
	}
	url := strings.Join(t.pushes, ",")
	if start := engines[through]; start != nil {
		if t.engine, err = start(ctx, r); err != nil {
			return nil, err
		}
		url = t.engine.url
	}
	for _, push := range t.pushes {
		h, err := startGo(ctx, "wspush", r.program("users"), ping, "-push", push, "-through", url)
		if err != nil {
			return nil, err
		}
		h.path = userPath
		t.workers = append(t.workers, h)
	}
	all := *t.workers[0]
	all.all, all.close = nil, t.stop
	for _, w := range t.workers {
		all.all = append(all.all, w.pid)
	}
	t.host = &all
	return t, nil
}

// stop ends the workers, and then the engine.
func (t *trio) stop() {
	for _, w := range t.workers {
		w.close()
	}
	if t.engine != nil {
		t.engine.stop()
	}
}

// forwards is how many messages the workers have sent over their links.
func (t *trio) forwards(ctx context.Context) (sum int, err error) {
	for _, w := range t.workers {
		body, err := w.ask(ctx, 10*time.Second, http.MethodGet, "/bench/forwarded")
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(string(body))
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// freeAddrs finds ports that nobody listens on.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // while they are taken, the next is another one
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// withTrio measures three workers, once they know each other.
func (r *run) withTrio(ctx context.Context, s server, through string, connect func(*trio, *loader) error, measure func(*trio, *loader) error) error {
	var t *trio
	s.start = func(ctx context.Context, ping time.Duration) (_ *host, err error) {
		if t, err = r.startTrio(ctx, through, ping); err != nil {
			return nil, err
		}
		return t.host, nil
	}
	return r.under(ctx, s, pingRarely, func(_ *host, l *loader) error {
		if err := connect(t, l); err != nil {
			return err
		}
		if err := sleep(ctx, r.plan.acquainted); err != nil {
			return err
		}
		return measure(t, l)
	})
}

// runThrough measures pushes to users where there are three workers, at the one that holds the connections and at another.
func runThrough(through string) func(context.Context, *run, server) error {
	return func(ctx context.Context, r *run, s server) error {
		return r.withTrio(ctx, s, through, func(t *trio, l *loader) error {
			_, err := l.connect(ctx, t.workers[0], r.plan.posted)
			return err
		}, func(t *trio, l *loader) error {
			if err := r.measureUsers(ctx, t.host, l, t.pushes[0], through+"-here"); err != nil {
				return err
			}
			if t.engine != nil && t.engine.lookups != nil && r.wants(through+"-lookups") {
				if err := r.measureLookups(ctx, t, l, through+"-lookups"); err != nil {
					return err
				}
			}
			return r.measureUsers(ctx, t.host, l, t.pushes[1], through+"-there")
		})
	}
}

// measureLookups counts what the engine is asked for each push to a user.
func (r *run) measureLookups(ctx context.Context, t *trio, l *loader, metric string) error {
	before, err := t.engine.lookups()
	if err != nil {
		return err
	}
	report, err := r.watch(ctx, t.host, l, order.Order{
		Do: order.Push, At: t.pushes[0], Push: userWays[0].to, Publishers: publishers, For: r.plan.push / 4, PIDs: t.pids(),
	})
	if err != nil {
		return err
	}
	after, err := t.engine.lookups()
	r.add(metric, "wspush", r.plan.posted, float64(after-before)/float64(report.Accepted))
	return err
}

// runGroupOver measures a message to a group whose members are at three workers, beside the same with one worker.
func runGroupOver(ctx context.Context, r *run, s server) error {
	var push string
	alone := server{s.name, r.startAlone(&push)}
	err := r.under(ctx, alone, pingRarely, func(h *host, l *loader) error {
		if _, err := l.connect(ctx, h, r.plan.posted); err != nil {
			return err
		}
		each, err := r.toEverybody(ctx, h, l, "/bench/group", order.Size, r.plan.broadcast)
		r.add("group-over-cpu", "wspush one worker", r.plan.posted, micro(each))
		return err
	})
	if err != nil {
		return err
	}
	return r.withTrio(ctx, s, "redis", func(t *trio, l *loader) error {
		for i, w := range t.workers {
			n := r.plan.posted / len(t.workers)
			if i == 0 {
				n = r.plan.posted - n*(len(t.workers)-1)
			}
			if _, err := l.connect(ctx, w, n); err != nil {
				return err
			}
		}
		return nil
	}, func(t *trio, l *loader) error {
		before, err := t.forwards(ctx)
		if err != nil {
			return err
		}
		if _, err := l.count(ctx, true); err != nil {
			return err
		}
		body, err := t.ask(ctx, time.Minute, http.MethodPost, fmt.Sprint("/bench/group?size=", order.Size))
		if err != nil {
			return err
		}
		if c, err := l.arrived(ctx, r.plan.posted); err != nil || string(body) != strconv.Itoa(c.Messages) || c.Messages != r.plan.posted {
			return fmt.Errorf("of a message to %d members, %s were sent, and %d came: %w", r.plan.posted, body, c.Messages, err)
		}
		after, err := t.forwards(ctx)
		if err != nil {
			return err
		}
		r.add("group-over-links", s.name, r.plan.posted, float64(after-before))
		each, err := r.toEverybody(ctx, t.host, l, "/bench/group", order.Size, r.plan.broadcast)
		r.add("group-over-cpu", s.name, r.plan.posted, micro(each))
		return err
	})
}
