// Command returns is clients with sessions: all are cut off at once, are pushed to while they are away, and come back, one after the other: first to
// the worker where they were, and then to another one. The benchmark starts it; it ends with a line of JSON.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
	"github.com/wspush/wspush/bench/internal/proc"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "returns:", err)
		os.Exit(1)
	}
}

// limit bounds everything that is waited for.
const limit = time.Minute

// crowd is all of the clients.
type crowd struct {
	clients  []*client
	messages int // that are pushed to each at a time
	spread   time.Duration
	pids     []int
	pushed   int // to each
}

func run() error {
	n := flag.Int("n", 100, "how many `clients`")
	from := flag.String("from", "", "`address` of the worker where they are")
	to := flag.String("to", "", "`address` of the other one")
	messages := flag.Int("messages", 3, "how many `messages` each is pushed before it is cut off, and as many while it is away")
	spread := flag.Duration("spread", time.Second, "in what `time` all come back")
	pids := flag.String("pids", "", "`processes` whose CPU is measured, separated by commas")
	flag.Parse()
	c := &crowd{messages: *messages, spread: *spread}
	for pid := range strings.SplitSeq(*pids, ",") {
		p, err := strconv.Atoi(pid)
		if err != nil {
			return err
		}
		c.pids = append(c.pids, p)
	}
	for i := range *n {
		c.clients = append(c.clients, &client{path: "/ws/" + strconv.Itoa(i)})
	}
	if err := c.connect(*from); err != nil {
		return err
	}
	var returns [2]order.Returns
	for i, at := range []string{*from, *to} {
		var err error
		if returns[i], err = c.comeBack(*from, at); err != nil {
			return fmt.Errorf("from %d to %d: %w", 0, i, err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(returns)
}

// connect connects all for the first time.
func (c *crowd) connect(to string) error {
	const hands = 64
	errs := make([]error, hands)
	var all sync.WaitGroup
	for i := range hands {
		all.Go(func() {
			for j := i; j < len(c.clients) && errs[i] == nil; j += hands {
				_, errs[i] = c.clients[j].connect(to)
			}
		})
	}
	all.Wait()
	return firstOf(errs)
}

// firstOf returns the first of the errors, and how many there are.
func firstOf(errs []error) (first error) {
	n := 0
	for _, err := range errs {
		if err == nil {
			continue
		}
		if n++; first == nil {
			first = err
		}
	}
	if n > 1 {
		return fmt.Errorf("%w; and %d more", first, n-1)
	}
	return first
}

// comeBack cuts all off, pushes to them at the worker where they are, and has them come back to another one, or to the same.
func (c *crowd) comeBack(from, to string) (r order.Returns, err error) {
	if err := c.push(from); err != nil {
		return r, err
	}
	if err := c.await(); err != nil {
		return r, err
	}
	for _, cl := range c.clients {
		cl.cut()
	}
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		s, err := sessions(from)
		if err != nil {
			return r, err
		}
		if s.Suspended == int64(len(c.clients)) {
			break
		}
		if time.Since(begin) > limit {
			return r, fmt.Errorf("%d of %d sessions are suspended", s.Suspended, len(c.clients))
		}
	}
	if err := c.push(from); err != nil {
		return r, err
	}
	time.Sleep(time.Second) // for what the workers may still have to do, which is not what is measured
	bytes, err := linkBytes(from, to)
	if err != nil {
		return r, err
	}
	cpus, err := c.cpus()
	if err != nil {
		return r, err
	}
	took := make([]time.Duration, len(c.clients))
	errs := make([]error, len(c.clients))
	var all sync.WaitGroup
	begin := time.Now()
	for i, cl := range c.clients {
		time.Sleep(time.Until(begin.Add(c.spread * time.Duration(i) / time.Duration(len(c.clients)))))
		all.Go(func() { took[i], errs[i] = cl.connect(to) })
	}
	all.Wait()
	if err := firstOf(errs); err != nil {
		return r, err
	}
	if err := c.await(); err != nil {
		return r, err
	}
	r.Elapsed, r.Messages = time.Since(begin), c.messages*len(c.clients)
	after, err := c.cpus()
	if err != nil {
		return r, err
	}
	for i := range after {
		r.CPUs = append(r.CPUs, after[i]-cpus[i])
	}
	for _, cl := range c.clients {
		r.Retries += cl.retries
		cl.retries = 0
	}
	r.Bytes, err = linkBytes(from, to)
	r.Bytes -= bytes
	slices.Sort(took)
	r.P50, r.P99, r.Max = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	return r, err
}

// push has the worker push to all of them.
func (c *crowd) push(at string) error {
	answer, err := ask(http.MethodPost, at, fmt.Sprintf("/bench/numbers?from=%d&n=%d", c.pushed, c.messages))
	if err != nil {
		return err
	}
	if n := c.messages * len(c.clients); string(answer) != strconv.Itoa(n) {
		return fmt.Errorf("of %d pushes, %s were accepted", n, answer)
	}
	c.pushed += c.messages
	return nil
}

// await waits until all have got everything, each message once and in its order.
func (c *crowd) await() error {
	for _, cl := range c.clients {
		if err := cl.await(c.pushed); err != nil {
			return err
		}
	}
	return nil
}

func (c *crowd) cpus() (all []time.Duration, err error) {
	for _, pid := range c.pids {
		cpu, err := proc.CPU(pid)
		if err != nil {
			return nil, err
		}
		all = append(all, cpu)
	}
	return all, nil
}

// linkBytes is what has gone over links between two workers, or none.
func linkBytes(a, b string) (n int64, err error) {
	for _, at := range []string{a, b} {
		s, err := sessions(at)
		if err != nil {
			return 0, err
		}
		if n += s.Bytes; a == b {
			break
		}
	}
	return n, nil
}

func sessions(at string) (s order.Sessions, err error) {
	answer, err := ask(http.MethodGet, at, "/bench/sessions")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(answer, &s)
}

func ask(method, at, path string) ([]byte, error) {
	req, err := http.NewRequest(method, "http://"+at+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Timeout: limit}).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	return answer, err
}
