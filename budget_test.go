package wspush

import (
	"testing"
	"testing/synctest"
	"time"
)

// reading is a share of a test's.
type reading struct {
	share
	interrupted chan struct{}
}

func (r *reading) interrupt() { close(r.interrupted) }

func newReading(b *budget) *reading {
	r := &reading{interrupted: make(chan struct{})}
	r.share.budget, r.share.reader = b, r
	return r
}

// taking calls take in a goroutine.
func (r *reading) taking(n int64) <-chan error {
	taken := make(chan error, 1)
	go func() { taken <- r.take(n) }()
	synctest.Wait()
	return taken
}

func isPending(c <-chan error) bool { return len(c) == 0 }

// Whoever finds no room gets it when others give theirs back, in turn.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		one, two, three := newReading(b), newReading(b), newReading(b)
		if err := <-one.taking(100); err != nil {
			t.Fatal(err)
		}
		second, third := two.taking(60), three.taking(40)
		if !isPending(second) || !isPending(third) || b.tryTake(0) {
			t.Error("there is room beyond the bound, or somebody overtakes those in line")
		}
		one.give(50)
		synctest.Wait()
		if !isPending(second) || !isPending(third) {
			t.Error("the second needs more, and the third overtakes it")
		}
		one.end()
		if err := <-second; err != nil {
			t.Error(err)
		}
		if err := <-third; err != nil {
			t.Error(err)
		}
		if b.tryTake(1) {
			t.Error("there is room beyond the bound")
		}
		two.end()
		three.end()
		if !b.tryTake(100) || b.held.Load() != 100 {
			t.Errorf("not everything was given back: %d are held", b.held.Load())
		}
	})
}

// A wait for room ends, and so does a reading for whose room somebody waits, once it has had some time.
func TestBudgetWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		if !b.tryTake(50) { // which nobody can interrupt
			t.Fatal("no room")
		}
		slow, next := newReading(b), newReading(b)
		<-slow.taking(30)
		<-time.After(budgetGrace / 2)
		<-next.taking(20)
		began := time.Now()
		more := newReading(b)
		waiting := more.taking(60)
		<-slow.interrupted
		if took := time.Since(began); took != budgetGrace/2 {
			t.Errorf("the oldest gives way after %v", took)
		}
		if !slow.stop() {
			t.Error("it does not know that it had to give way")
		}
		slow.end()
		<-next.interrupted
		if took := time.Since(began); took != budgetGrace {
			t.Errorf("the next one gives way after %v", took)
		}
		next.end()
		if err := <-waiting; err != errIntakeFull || time.Since(began) != budgetWait {
			t.Errorf("the wait ends with %v, after %v", err, time.Since(began))
		}
		if b.held.Load() != 50 || !b.tryTake(50) {
			t.Errorf("%d are held", b.held.Load())
		}
	})
}

// Bodies that are all half read do not wait for each other.
func TestBudgetProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		var all []*reading
		var taken []<-chan error
		for range 10 {
			r := newReading(b)
			<-r.taking(10)
			all = append(all, r)
		}
		newcomer := newReading(b).taking(10)
		for _, r := range all {
			taken = append(taken, r.taking(40))
		}
		began := time.Now()
		for i, r := range all {
			if err := <-taken[i]; err != nil {
				t.Fatal(i, err)
			}
			if held := b.held.Load(); held > 100+40 {
				t.Errorf("%d are held", held)
			}
			r.end()
		}
		if err := <-newcomer; err != nil || time.Since(began) != 0 {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
	})
}

// One that is larger than the bound has its turn when there is nothing else.
func TestBudgetGiant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		small, giant := newReading(b), newReading(b)
		<-small.taking(10)
		waiting := giant.taking(1000)
		if !isPending(waiting) {
			t.Error("it does not wait")
		}
		small.end()
		if err := <-waiting; err != nil {
			t.Error(err)
		}
		giant.end()
		if b.held.Load() != 0 {
			t.Errorf("%d are held", b.held.Load())
		}
	})
}

// A share that waits gives way like any other.
func TestBudgetWaitingGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 100}
		old, express, young := newReading(b), newReading(b), newReading(b)
		<-old.taking(40)
		<-express.taking(40)
		<-express.taking(100) // beyond the bound
		waiting := old.taking(50)
		<-time.After(budgetGrace - 1)
		newest := young.taking(10)
		<-express.interrupted
		if err := <-waiting; err != errIntakeFull || !old.stop() {
			t.Errorf("it ends with %v", err)
		}
		old.end()
		express.end()
		if err := <-newest; err != nil {
			t.Error(err)
		}
	})
}
