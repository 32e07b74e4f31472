package timing

import (
	"math"
	"testing"
	"time"
)

func TestRecorder(t *testing.T) {
	tests := map[time.Duration]int{
		-time.Second:              0,
		0:                         0,
		1:                         0,
		8 * time.Microsecond:      0,
		8*time.Microsecond + 1:    1,
		16 * time.Microsecond:     1,
		16*time.Microsecond + 1:   2,
		time.Millisecond:          7, // at most 1.024 ms
		1024 * time.Microsecond:   7,
		1024*time.Microsecond + 1: 8,
		Bound(Buckets - 2):        Buckets - 2,
		Bound(Buckets-2) + 1:      Buckets - 1,
		math.MaxInt64:             Buckets - 1,
	}
	for d, want := range tests {
		var r Recorder
		r.Record(d)
		var got, expected Counts
		r.AddTo(&got)
		expected.In[want], expected.Sum = 1, d
		if got != expected {
			t.Errorf("%v: %+v, want it in bucket %d", d, got, want)
		}
	}
}

func TestAddTo(t *testing.T) {
	var a, b Recorder
	a.Record(time.Microsecond)
	b.Record(time.Microsecond)
	b.Record(time.Minute)
	var got Counts
	a.AddTo(&got)
	b.AddTo(&got)
	want := Counts{Sum: 2*time.Microsecond + time.Minute}
	want.In[0], want.In[Buckets-1] = 2, 1
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if bound := Bound(Buckets - 2); bound != 16777216*time.Microsecond {
		t.Errorf("the last bound is %v", bound)
	}
}
