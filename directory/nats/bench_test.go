package wspushnats_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/wspush/wspush/directory/directorytest"
)

func BenchmarkDirectory(b *testing.B) {
	admin := &admin{tb: b}
	directorytest.Benchmark(b, func(tb testing.TB) *directorytest.Engine { return suiteEngine(tb) }, func(tb testing.TB, e *directorytest.Engine) int64 {
		tb.Helper()
		// The heap of this process, in which the server is.
		runtime.GC()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		info, err := admin.stream(tb, e.Address, "suite").Info(context.Background())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Logf("by its own account, the stream has %d bytes in %d messages", info.State.Bytes, info.State.Msgs)
		return int64(memory.HeapAlloc)
	})
}
