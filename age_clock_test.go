package wspush

import (
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
)

// The ages of connections are spread over the last fifth of MaxAge, evenly, whatever MaxAge is.
func TestAgeSpread(t *testing.T) {
	for _, tt := range []struct {
		maxAge   time.Duration
		draw     string
		from, to time.Duration
	}{
		{time.Hour, "00000000", time.Hour, time.Hour},
		{time.Hour, "80000000", 54 * time.Minute, 54 * time.Minute},
		{time.Hour, "ffffffff", 48*time.Minute + 1, 48*time.Minute + time.Microsecond},
		{1, "ffffffff", 1, 1},
		{math.MaxInt64, "00000000", math.MaxInt64, math.MaxInt64},
		{math.MaxInt64, "ffffffff", math.MaxInt64 / 5 * 4, math.MaxInt64 / 5 * 5},
	} {
		if age := ageOf(tt.maxAge, "1b9d6bcd-bbfd-4b2d-9b5d-ab8d"+tt.draw); age < tt.from || age > tt.to {
			t.Errorf("MaxAge %v, %s: %v, want %v to %v", tt.maxAge, tt.draw, age, tt.from, tt.to)
		}
	}
	var tenths [10]int
	for range 10_000 {
		age := ageOf(time.Hour, uuid.NewString())
		if age <= 48*time.Minute || age > time.Hour {
			t.Fatalf("an age of %v", age)
		}
		tenths[(time.Hour-age)*10/(12*time.Minute)]++
	}
	for i, n := range tenths {
		if n < 800 || n > 1200 { // six standard deviations and more
			t.Errorf("%d of 10000 ages are in tenth %d", n, i)
		}
	}
}

// An expiry goes by the system's clock alone, and takes any time.
func TestExpiry(t *testing.T) {
	now := time.Now()
	clock := now.Round(0) // which has been read without the other clock
	if left := expiryOf(now.Add(time.Hour)).left(clock); left != time.Hour {
		t.Errorf("%v are left of an hour", left)
	}
	if left := expiryOf(now.Add(time.Hour)).left(clock.Add(90 * time.Minute)); left != -30*time.Minute {
		t.Errorf("%v are left of an hour after a sleep of 90 minutes", left)
	}
	if left := expiryOf(now.Add(time.Hour)).left(clock.Add(-time.Hour)); left != 2*time.Hour {
		t.Errorf("%v are left of an hour with a clock that was set back by another", left)
	}
	for _, never := range []time.Time{
		{}, time.Unix(0, math.MaxInt64).Add(1), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(math.MaxInt64>>1, 0),
	} {
		if e := expiryOf(never); e != 0 {
			t.Errorf("%v becomes %d", never, e)
		}
	}
	for _, at := range []time.Time{now.Add(1), now.In(time.FixedZone("", 3600)).Add(time.Second), time.Unix(0, math.MaxInt64)} {
		if left := expiryOf(at).left(now); left <= 0 {
			t.Errorf("%v are left until %v", left, at)
		}
	}
}
