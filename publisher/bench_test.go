package publisher_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/wspush/wspush/publisher"
)

// What a message costs on both sides together, where the other is a fake.
func BenchmarkPush(b *testing.B) {
	single := httptest.NewServer(says(204, "", ""))
	defer single.Close()
	many := httptest.NewServer(new(worker))
	defer many.Close()
	c := newClient(b, publisher.Options{})
	data := []byte("a message that is not long")
	b.Run("single", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Push(context.Background(), addressOf(single.URL), publisher.Text, data); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("stream", func(b *testing.B) {
		b.ReportAllocs()
		s := c.NewStream()
		defer s.Close()
		b.SetParallelism(128)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Push(context.Background(), addressOf(many.URL), publisher.Text, data); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
