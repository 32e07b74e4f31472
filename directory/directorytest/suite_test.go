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
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup // for what takes long and does nothing
	defer waiting.Wait()
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

		"tie wins":                    "Claims",
		"moves as text":               "Claims",
		"moves rounded":               "Claims",
		"lower wins":                  "Claims",
		"claim in two steps":          "ClaimsRace",
		"first thousand claims":       "ClaimsMany",
		"sessions trimmed":            "ClaimsOfAnyBytes",
		"sessions are keys":           "ClaimsOfAnyBytes",
		"errors ignored by claims":    "ClaimsLost",
		"claim in two steps, late":    "ClaimsLate",
		"repeat refused":              "ClaimsRepeated",
		"generation stays, of claims": "ClaimsUnderLoss",
		"context ignored by claims":   "ClaimsContextEnds",
		"nonsense ignored by claims":  "ClaimsNonsense",
		"nonsense claimed":            "ClaimsNonsense",
		"disclaims at once":           "Disclaims",
		"disclaims never":             "Forgotten",
		"disclaims any":               "Forgotten",
		"disclaims any moves":         "Forgotten",
		"disclaims for good":          "Forgotten",
		"disclaim in two steps":       "Forgotten",
	} {
		run := func(t *testing.T) {
			suite := exec.Command(program, "-test.run", "^TestToy$/^"+test+"$", "-test.timeout", "100s")
			suite.Env = append(os.Environ(), mutantVariable+"="+mutant)
			out, err := suite.CombinedOutput()
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestToy/"+test) {
				t.Errorf("the suite has not failed in %s: %v\n%s", test, err, out)
			}
		}
		if test == "Forgotten" || test == "Lapse" {
			waiting.Go(func() { t.Run(mutant, run) })
			continue
		}
		t.Run(mutant, func(t *testing.T) {
			t.Parallel()
			run(t)
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
	Owners     map[string]owner             // by session
}

type owner struct {
	Lease   string
	Moves   uint64
	Forgets time.Time // if it is disclaimed
}

// owner returns that of a session, if it is not to be forgotten.
func (d *data) owner(session string) owner {
	o := d.Owners[session]
	if !o.Forgets.IsZero() && time.Now().After(o.Forgets) {
		return owner{}
	}
	return o
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
		Empty:   func(testing.TB) { empty(strings.HasPrefix(mutant, "generation stays")) },
		Kill:    kill,
		Restart: start,
		Nonsense: map[string]func(tb testing.TB, prefix, key string){
			"Member": spoil(func(d *data, key string) { d.Entries[key] = map[string]uint64{"text": 1} }),
			"Lease":  spoil(func(d *data, _ string) { d.Leases["text"] = lease{Lapses: time.Now().Add(time.Hour)} }),
		},
		OwnerNonsense: map[string]func(tb testing.TB, prefix, session string){
			"Lease": spoil(func(d *data, session string) { d.Owners[session] = owner{Lease: "text", Moves: 1} }),
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
		d.Leases, d.Entries, d.Owners = make(map[string]lease), make(map[string]map[string]uint64), make(map[string]owner)
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
	Claims  []directory.Ownership
	Always  bool // whatever is there
}

type Answer struct {
	Generation string
	Leases     []directory.Lease
	Numbers    []string
	Sets       [][]string
	Owners     []owner
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

func (s *service) Claim(r Request, a *Answer) error {
	s.toy.mu.Lock()
	defer s.toy.mu.Unlock()
	d := s.toy.of(r.Prefix)
	for _, claim := range r.Claims {
		now, want := d.owner(claim.Session), owner{Lease: strconv.FormatUint(claim.Lease, 10), Moves: claim.Moves}
		if now.Lease == "text" && s.toy.mutant != "nonsense claimed" {
			a.Owners = append(a.Owners, now) // for the client to refuse
			continue
		}
		same := now.Lease == want.Lease && now.Moves == want.Moves
		wins := same || want.Moves > now.Moves
		switch s.toy.mutant {
		case "tie wins":
			wins = want.Moves >= now.Moves
		case "lower wins":
			wins = want.Moves != now.Moves
		case "moves as text":
			wins = fmt.Sprint(want.Moves) > fmt.Sprint(now.Moves) || same
		case "moves rounded":
			wins = float32(want.Moves) > float32(now.Moves) || same
		case "repeat refused":
			if same {
				a.Owners = append(a.Owners, owner{Lease: "1", Moves: want.Moves})
				continue
			}
		case "sessions are keys":
			d.Entries[claim.Session] = nil
		}
		if wins || r.Always {
			if s.toy.mutant == "disclaims for good" {
				want.Forgets = now.Forgets
			}
			d.Owners[claim.Session] = want
			now = want
		}
		a.Owners = append(a.Owners, now)
	}
	return nil
}

func (s *service) Owners(r Request, a *Answer) error {
	s.toy.mu.Lock()
	defer s.toy.mu.Unlock()
	for _, session := range r.Keys {
		a.Owners = append(a.Owners, s.toy.of(r.Prefix).owner(session))
	}
	return nil
}

func (s *service) Disclaim(r Request, _ *Answer) error {
	s.toy.mu.Lock()
	defer s.toy.mu.Unlock()
	d := s.toy.of(r.Prefix)
	for _, claim := range r.Claims {
		now, ok := d.Owners[claim.Session]
		lease := now.Lease == strconv.FormatUint(claim.Lease, 10)
		wanted := lease && now.Moves == claim.Moves
		switch s.toy.mutant {
		case "disclaims any moves":
			wanted = lease
		case "disclaims any":
			wanted = ok
		case "disclaims never":
			wanted = false
		}
		if !wanted && !r.Always {
			continue
		}
		now.Forgets = time.Now().Add(directory.LeaseTime)
		if s.toy.mutant == "disclaims at once" {
			now.Forgets = time.Now()
		}
		d.Owners[claim.Session] = now
	}
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
	if strings.HasPrefix(c.mutant, "context ignored") {
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
		if err != nil && !strings.HasPrefix(c.mutant, "nonsense ignored") {
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

func (c *client) Claim(ctx context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
	claims = slices.Clone(claims)
	sessions := make([]string, len(claims))
	for i, claim := range claims {
		sessions[i] = claim.Session
		if c.mutant == "sessions trimmed" {
			claims[i].Session = strings.TrimSpace(claim.Session)
		}
	}
	request := Request{Claims: claims}
	if c.mutant == "first thousand claims" {
		request.Claims = claims[:min(len(claims), 1000)]
	}
	if strings.HasPrefix(c.mutant, "claim in two steps") {
		now, err := c.Owners(ctx, sessions)
		if err != nil || len(claims) == 0 || now[0].Moves >= claims[0].Moves {
			return now, err
		}
		request.Always = true
	}
	a, err := c.call(ctx, "Claim", request)
	if c.mutant == "errors ignored by claims" && err != nil {
		return claims, nil
	}
	if err != nil {
		return nil, err
	}
	return c.owners(sessions, a.Owners)
}

func (c *client) Owners(ctx context.Context, sessions []string) ([]directory.Ownership, error) {
	trimmed := slices.Clone(sessions)
	for i := range trimmed {
		if c.mutant == "sessions trimmed" {
			trimmed[i] = strings.TrimSpace(trimmed[i])
		}
	}
	a, err := c.call(ctx, "Owners", Request{Keys: trimmed})
	if err != nil {
		return nil, err
	}
	return c.owners(sessions, a.Owners)
}

func (c *client) owners(sessions []string, found []owner) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, len(sessions))
	for i, session := range sessions {
		owners[i].Session = session
		if i >= len(found) || found[i].Moves == 0 {
			continue
		}
		lease, err := c.numbers([]string{found[i].Lease})
		if err != nil {
			return nil, fmt.Errorf("%q: %w", session, err)
		}
		if len(lease) == 1 {
			owners[i].Lease, owners[i].Moves = lease[0], found[i].Moves
		}
	}
	return owners, nil
}

func (c *client) Disclaim(ctx context.Context, claims []directory.Ownership) error {
	request := Request{Claims: claims}
	if c.mutant == "disclaim in two steps" && len(claims) == 1 {
		now, err := c.Owners(ctx, []string{claims[0].Session})
		if err != nil || now[0] != claims[0] {
			return err
		}
		request.Always = true
	}
	_, err := c.call(ctx, "Disclaim", request)
	return err
}
