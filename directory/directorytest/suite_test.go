package directorytest_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/directory/directorytest"
)

// TestToy runs the suite with an engine in memory. In the environment of TestMutants the engine breaks a rule.
func TestToy(t *testing.T) {
	directorytest.Run(t, func(tb testing.TB) *directorytest.Engine { return newToy(tb, os.Getenv(mutantVariable)) })
}

const mutantVariable = "DIRECTORYTEST_MUTANT"

// The suite finds each rule broken, in the test that is about it.
func TestMutants(t *testing.T) {
	for mutant, test := range map[string]string{
		"generation first":    "LossDuringFind",
		"generation stays":    "Emptied",
		"generation restored": "Restarted",
		"generation foretold": "LossBetweenFindAndRenew",
		"generation racing":   "LossUnderLoad",
		"lapse loses":         "Lapse",
		"leave undoes":        "LateLeave",
		"lease stays":         "Leases",
		"lagging":             "WriteLoad",
		"asynchronous":        "JoinAndFind",
		"keys trimmed":        "Keys",
		"first thousand":      "Many",
		"prefixes shared":     "Prefixes",
		"nonsense ignored":    "Nonsense",
		"errors ignored":      "AnswersLost",
		"context ignored":     "ContextEnds",
	} {
		t.Run(mutant, func(t *testing.T) {
			t.Parallel()
			program, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			suite := exec.Command(program, "-test.run", "^TestToy$/^"+test+"$", "-test.timeout", "100s")
			suite.Env = append(os.Environ(), mutantVariable+"="+mutant)
			out, err := suite.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestToy/"+test) {
				t.Errorf("the suite has not failed in %s: %v\n%s", test, err, out)
			}
		})
	}
}

// A toy is an engine that answers by net/rpc.
type toy struct {
	mutant  string
	address string
	conns   sync.WaitGroup

	listener net.Listener // the test's own

	mu         sync.Mutex // guards what follows
	open       map[net.Conn]struct{}
	generation int              // counts all there have been, and is never lost
	data       map[string]*data // by prefix
	lagging    map[string]*data
}

type data struct {
	Generation string
	Leases     map[string]lease             // by number
	Entries    map[string]map[string]uint64 // by key, and number: the version
}

type lease struct {
	directory.Lease
	Lapses time.Time
}

func newToy(tb testing.TB, mutant string) *directorytest.Engine {
	e := &toy{mutant: mutant, data: make(map[string]*data)}
	start := func(tb testing.TB) {
		tb.Helper()
		listener, err := net.Listen("tcp", cmp.Or(e.address, "127.0.0.1:0"))
		if err != nil {
			tb.Fatal(err)
		}
		e.listener, e.address, e.open = listener, listener.Addr().String(), make(map[net.Conn]struct{})
		server := rpc.NewServer()
		if err := server.RegisterName("Toy", &service{e}); err != nil {
			tb.Fatal(err)
		}
		e.conns.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				e.mu.Lock()
				e.open[conn] = struct{}{}
				e.mu.Unlock()
				e.conns.Go(func() { server.ServeConn(conn) })
			}
		})
	}
	empty := func(keep bool) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for prefix, d := range e.data {
			e.data[prefix] = new(data)
			if keep {
				e.data[prefix].Generation = d.Generation
			}
		}
	}
	kill := func(testing.TB) {
		_ = e.listener.Close()
		e.mu.Lock()
		for conn := range e.open {
			_ = conn.Close()
		}
		e.mu.Unlock()
		e.conns.Wait()
		empty(mutant == "generation restored")
	}
	start(tb)
	tb.Cleanup(func() { kill(tb) })
	spoil := func(change func(d *data, key string)) func(tb testing.TB, prefix, key string) {
		return func(_ testing.TB, prefix, key string) {
			e.mu.Lock()
			defer e.mu.Unlock()
			change(e.of(prefix), key)
		}
	}
	return &directorytest.Engine{
		Address: e.address,
		Open: func(tb testing.TB, address, prefix string) directory.Directory {
			if mutant == "prefixes shared" {
				prefix = "shared"
			}
			c := &client{address: address, prefix: prefix, mutant: mutant}
			tb.Cleanup(c.close)
			return c
		},
		Empty:   func(testing.TB) { empty(mutant == "generation stays") },
		Kill:    kill,
		Restart: start,
		Nonsense: map[string]func(tb testing.TB, prefix, key string){
			"Member": spoil(func(d *data, key string) { d.Entries[key] = map[string]uint64{"text": 1} }),
			"Lease":  spoil(func(d *data, _ string) { d.Leases["text"] = lease{Lapses: time.Now().Add(time.Hour)} }),
		},
	}
}

func (e *toy) of(prefix string) *data {
	d := e.data[prefix]
	if d == nil {
		d = new(data)
		e.data[prefix] = d
	}
	if d.Leases == nil {
		d.Leases, d.Entries = make(map[string]lease), make(map[string]map[string]uint64)
	}
	return d
}

// A service is what a toy answers. Every method is exported for net/rpc.
type service struct{ toy *toy }

type Request struct {
	Prefix  string
	Lease   directory.Lease
	Changes []directory.Change
	Version uint64
	Keys    []string
}

type Answer struct {
	Generation string
	Leases     []directory.Lease
	Numbers    []string
	Sets       [][]string
}

func (s *service) Renew(r Request, a *Answer) error {
	s.toy.mu.Lock()
	defer s.toy.mu.Unlock()
	d := s.toy.of(r.Prefix)
	if d.Generation == "" {
		s.toy.generation++
		d.Generation = fmt.Sprint("generation ", s.toy.generation)
	}
	number := strconv.FormatUint(r.Lease.Number, 10)
	if _, ok := d.Leases[number]; !ok || s.toy.mutant != "lease stays" {
		d.Leases[number] = lease{r.Lease, time.Now().Add(directory.LeaseTime)}
	}
	for number, l := range d.Leases {
		if time.Now().After(l.Lapses) {
			delete(d.Leases, number)
			if s.toy.mutant == "lapse loses" {
				for _, leases := range d.Entries {
					delete(leases, number)
				}
			}
			continue
		}
		a.Leases, a.Numbers = append(a.Leases, l.Lease), append(a.Numbers, number)
	}
	a.Generation = d.Generation
	return nil
}

func (s *service) Apply(r Request, _ *Answer) error {
	s.toy.mu.Lock()
	defer s.toy.mu.Unlock()
	d, number := s.toy.of(r.Prefix), strconv.FormatUint(r.Lease.Number, 10)
	for _, change := range r.Changes {
		leases := d.Entries[change.Key]
		switch {
		case change.Present && leases == nil:
			d.Entries[change.Key] = map[string]uint64{number: r.Version}
		case change.Present:
			leases[number] = max(leases[number], r.Version)
		case leases[number] <= r.Version || s.toy.mutant == "leave undoes":
			delete(leases, number)
		}
	}
	if s.toy.mutant != "lagging" || s.toy.lagging == nil || r.Version%50 == 0 {
		s.toy.lagging = make(map[string]*data)
		for prefix, d := range s.toy.data {
			copied := &data{Generation: d.Generation, Entries: make(map[string]map[string]uint64)}
			if s.toy.mutant == "lagging" {
				for key, leases := range d.Entries {
					copied.Entries[key] = maps.Clone(leases)
				}
			}
			s.toy.lagging[prefix] = copied
		}
	}
	return nil
}

func (s *service) Sets(r Request, a *Answer) error {
	s.toy.mu.Lock()
	defer s.toy.mu.Unlock()
	d := s.toy.of(r.Prefix)
	if lagging := s.toy.lagging[r.Prefix]; s.toy.mutant == "lagging" && lagging != nil {
		d = lagging
	}
	for _, key := range r.Keys {
		a.Sets = append(a.Sets, slices.Collect(maps.Keys(d.Entries[key])))
	}
	return nil
}

func (s *service) Generation(r Request, a *Answer) error {
	s.toy.mu.Lock()
	defer s.toy.mu.Unlock()
	a.Generation = s.toy.of(r.Prefix).Generation
	return nil
}

// A client is a directory in a toy.
type client struct {
	address, prefix, mutant string

	mu      sync.Mutex // guards what follows
	rpc     *rpc.Client
	closed  bool
	version uint64
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.rpc != nil {
		_ = c.rpc.Close()
	}
}

func (c *client) call(ctx context.Context, method string, r Request) (a Answer, err error) {
	if err := ctx.Err(); err != nil {
		return a, err
	}
	r.Prefix = c.prefix
	c.mu.Lock()
	if c.rpc == nil && !c.closed {
		c.rpc, err = rpc.Dial("tcp", c.address)
	}
	current := c.rpc
	c.mu.Unlock()
	if err != nil {
		return a, err
	}
	answer := new(Answer)
	call := current.Go("Toy."+method, r, answer, make(chan *rpc.Call, 1))
	done := ctx.Done()
	if c.mutant == "context ignored" {
		late := make(chan struct{})
		timer := time.AfterFunc(5*time.Second, func() { close(late) })
		defer timer.Stop()
		done = late
	}
	select {
	case <-call.Done:
		err = call.Error
	case <-done:
		err = context.DeadlineExceeded
	}
	if err != nil {
		_ = current.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.rpc == current {
			c.rpc = nil
		}
		return a, err
	}
	return *answer, nil
}

func (c *client) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	a, err := c.call(ctx, "Renew", Request{Lease: l})
	if err == nil {
		_, err = c.numbers(a.Numbers)
	}
	if err != nil {
		return directory.View{}, err
	}
	return directory.View{Generations: []string{a.Generation}, Leases: a.Leases}, nil
}

func (c *client) numbers(members []string) (numbers []uint64, err error) {
	for _, member := range members {
		n, err := strconv.ParseUint(member, 10, 63)
		if err != nil && c.mutant != "nonsense ignored" {
			return nil, err
		}
		if err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

func (c *client) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	c.mu.Lock()
	c.version++
	version := c.version
	c.mu.Unlock()
	changes = slices.Clone(changes)
	switch c.mutant {
	case "keys trimmed":
		for i := range changes {
			changes[i].Key = strings.TrimSpace(changes[i].Key)
		}
	case "first thousand":
		changes = changes[:min(len(changes), 1000)]
	case "asynchronous":
		time.AfterFunc(5*time.Millisecond, func() {
			_, _ = c.call(context.Background(), "Apply", Request{Lease: directory.Lease{Number: number}, Changes: changes, Version: version})
		})
		return nil
	}
	_, err := c.call(ctx, "Apply", Request{Lease: directory.Lease{Number: number}, Changes: changes, Version: version})
	if c.mutant == "errors ignored" {
		return nil
	}
	return err
}

func (c *client) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	first, err := Answer{}, error(nil)
	before := c.mutant == "generation first" || c.mutant == "generation racing"
	if before {
		first, err = c.call(ctx, "Generation", Request{})
	}
	var sets Answer
	if err == nil {
		sets, err = c.call(ctx, "Sets", Request{Keys: keys})
	}
	if err == nil && !before {
		first, err = c.call(ctx, "Generation", Request{})
	}
	if err != nil {
		return nil, err
	}
	generation := first.Generation
	if c.mutant == "generation foretold" && generation == "" {
		generation = "generation 2" // that which the next Renew makes, in the test that is to find it
	}
	found := make([]directory.Found, len(keys))
	for i := range found {
		found[i].Generation = generation
		if found[i].Leases, err = c.numbers(sets.Sets[i]); err != nil {
			return nil, fmt.Errorf("%q: %w", keys[i], err)
		}
	}
	return found, nil
}
