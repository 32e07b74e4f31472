package wspush

import (
	"testing"

	"github.com/wspush/wspush/internal/session"
)

// The first ticket is the one that the client has for certain, and stays, however many are made; of the others the latest are kept.
func TestTickets(t *testing.T) {
	var all tickets
	of := func(secret [16]byte) session.Ticket { return session.Ticket{Secret: secret} }
	if all.find(of([16]byte{})) != -1 {
		t.Error("none matches a ticket of zeros")
	}
	all.confirm()
	first := all.add()
	if all.find(of(first)) != 0 || all.find(of([16]byte{})) != -1 {
		t.Error("the first")
	}
	var others [5][16]byte
	for i := range others {
		others[i] = all.add()
		if i > 0 && others[i] == others[i-1] {
			t.Error("twice the same")
		}
	}
	for i, want := range []int{-1, -1, -1, 1, 2} {
		if got := all.find(of(others[i])); got != want {
			t.Errorf("ticket %d is at %d, want %d", i, got, want)
		}
	}
	if all.find(of(first)) != 0 {
		t.Error("the first is lost")
	}
	all.prove(1)
	for secret, want := range map[[16]byte]int{first: -1, others[3]: 0, others[4]: 1, {}: -1} {
		if got := all.find(of(secret)); got != want {
			t.Errorf("at %d, want %d", got, want)
		}
	}
	last := all.add()
	all.confirm()
	for secret, want := range map[[16]byte]int{others[3]: -1, others[4]: -1, last: 0} {
		if got := all.find(of(secret)); got != want {
			t.Errorf("at %d, want %d", got, want)
		}
	}
}

// One that the client has confirmed stays, however many are made for older ones, until a later one is confirmed, or proved.
func TestSeenTickets(t *testing.T) {
	var all tickets
	of := func(secret [16]byte) session.Ticket { return session.Ticket{Secret: secret} }
	check := func(when string, places map[[16]byte]int) {
		t.Helper()
		for secret, want := range places {
			if got := all.find(of(secret)); got != want {
				t.Errorf("%s: at %d, want %d", when, got, want)
			}
		}
	}
	all.see()
	first := all.add()
	all.see()
	one := all.add()
	all.see()
	two, three := all.add(), all.add()
	check("one is seen", map[[16]byte]int{first: 0, one: 1, two: -1, three: 2})
	all.see()
	four, five := all.add(), all.add()
	check("three is seen", map[[16]byte]int{first: 0, one: -1, three: 1, four: -1, five: 2})
	all.prove(1)
	six, seven := all.add(), all.add()
	check("three is proved", map[[16]byte]int{first: -1, three: 0, five: -1, six: 1, seven: 2})
	all.see()
	all.prove(1)
	check("six is proved", map[[16]byte]int{three: -1, six: 0, seven: 1})
	eight, nine := all.add(), all.add()
	check("seven is still seen", map[[16]byte]int{six: 0, seven: 1, eight: -1, nine: 2})
}
