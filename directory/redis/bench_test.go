package wspushredis_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory/directorytest"
)

func BenchmarkDirectory(b *testing.B) {
	directorytest.Benchmark(b, func(tb testing.TB) *directorytest.Engine { return engine(tb) }, usedMemory)
}

// usedMemory is what the server has allocated.
func usedMemory(tb testing.TB, e *directorytest.Engine) int64 {
	tb.Helper()
	client := redis.NewClient(&redis.Options{Addr: e.Address})
	defer func() { _ = client.Close() }()
	info, err := client.Info(context.Background(), "memory").Result()
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(info, "used_memory:")
	number, _, _ := strings.Cut(rest, "\r")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}
