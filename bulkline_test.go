package wspush

import "testing"

// The limit of a line does not overflow where an int has 32 bits.
func TestBulkMaxLine(t *testing.T) {
	for limit, want := range map[int64]int64{
		-1: -1, 0: 64 << 10, 1000: 6000 + 64<<10, 1<<30 - 64<<10: 6<<30 - 5*64<<10, 1 << 30: 6<<30 + 64<<10, 1 << 40: 6<<40 + 64<<10, 1<<40 + 1: -1, 1<<63 - 1: -1,
	} {
		b := &bulkRequest{worker: &Worker{opts: WorkerOptions{MaxPushBytes: limit}}}
		if got := b.maxLine(); got != want {
			t.Errorf("with MaxPushBytes %d, a line may have %d bytes, not %d", limit, got, want)
		}
	}
}
