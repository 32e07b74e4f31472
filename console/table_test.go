package console

import (
	"testing"
	"time"
)

func TestShorten(t *testing.T) {
	long := make([]rune, 300)
	for i := range long {
		long[i] = '界' // 3 bytes
	}
	for text, want := range map[string]string{"": "", "a": "a", string(long[:66]): string(long[:66]), string(long): string(long[:66]) + "…"} {
		if got := shorten(text); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

// Looking takes at most a twentieth of the time, unless that would leave a page without news for long.
func TestPace(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		0:                      interval,
		time.Millisecond:       interval,
		25 * time.Millisecond:  interval,
		400 * time.Millisecond: 8 * time.Second,
		time.Second:            10 * time.Second,
		time.Minute:            10 * time.Second, // as when Label asks a database 10,000 times
	} {
		if got := pace(took, interval); got != want {
			t.Errorf("after %v it rests for %v", took, got)
		}
	}
}
