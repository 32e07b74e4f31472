package wspush

import (
	"math"
	"testing"
	"time"
)

// MaxAge is off unless it is positive.
func TestMaxAgeDefault(t *testing.T) {
	for maxAge, want := range map[time.Duration]time.Duration{0: 0, -1: 0, math.MinInt64: 0, 1: 1, math.MaxInt64: math.MaxInt64} {
		if o, err := (&HandlerOptions{MaxAge: maxAge}).withDefaults(); err != nil || o.MaxAge != want {
			t.Errorf("MaxAge %d becomes %d, %v; want %d", maxAge, o.MaxAge, err, want)
		}
	}
}

func TestIntervalDefaults(t *testing.T) {
	tests := []struct{ ping, idle, wantPing, wantIdle time.Duration }{
		{0, 0, 5 * time.Minute, 6 * time.Minute},
		{25 * time.Second, 0, 25 * time.Second, 6 * time.Minute},
		{10 * time.Minute, 0, 10 * time.Minute, 12 * time.Minute},
		{0, time.Minute, 50 * time.Second, time.Minute},
		{0, time.Hour, 5 * time.Minute, time.Hour},
		{-1, 0, -1, 6 * time.Minute},
		{0, -1, 5 * time.Minute, -1},
		{-1, -1, -1, -1},
		{time.Hour, -1, time.Hour, -1},
		{-1, time.Second, -1, time.Second},
	}
	for _, tt := range tests {
		o, err := (&HandlerOptions{PingInterval: tt.ping, IdleTimeout: tt.idle}).withDefaults()
		if err != nil || o.PingInterval != tt.wantPing || o.IdleTimeout != tt.wantIdle {
			t.Errorf("PingInterval %v, IdleTimeout %v: got %v, %v, %v; want %v, %v",
				tt.ping, tt.idle, o.PingInterval, o.IdleTimeout, err, tt.wantPing, tt.wantIdle)
		}
	}
}
