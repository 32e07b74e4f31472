package wspush_test

import (
	"context"
	"errors"
	"testing"

	"github.com/wspush/wspush"
)

// Where all workers have given a load balancer's address as theirs, nothing is claimed to be gone: what would go in a circle is
// 508.
func TestSharedAddress(t *testing.T) {
	var workers []*wspush.Worker
	balancer := balance(t, &workers)
	third := newMember(t, wspush.WorkerOptions{})
	for range 2 {
		workers = append(workers, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: balancer}}))
	}
	conn, client := connectTo(t, workers[0])
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			if _, _, err := client.Message(); err != nil {
				return
			}
		}
	}()
	seen := map[int]int{}
	for range 4 {
		for _, w := range []*wspush.Worker{workers[0], workers[1], third} {
			seen[post(t, sealedURL(w, conn), "", []byte("a")).StatusCode]++
		}
	}
	if seen[204] < 4 || seen[508] < 4 || seen[204]+seen[508] != 12 {
		t.Errorf("answers %v", seen)
	}
	if _, err := workers[1].Push(context.Background(), conn.SealedID(), wspush.Text, nil); !errors.Is(err, wspush.ErrUnreachable) {
		t.Error(err)
	}
	conn.Close(1000, "")
	<-read
}
