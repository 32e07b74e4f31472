package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/internal/order"
)

// chunk is how many pushes, and then writes, come in one go: so few that whatever disturbs the one disturbs the other.
const chunk = 2000

// inProcess compares n pushes from one goroutine with n bare write(2) of the same frames, to the same sockets in the same
// random order.
func inProcess(worker *wspush.Worker, w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil || n < chunk {
		http.Error(w, "n must be a number of at least "+strconv.Itoa(chunk), http.StatusBadRequest)
		return
	}
	ids, fds, err := sockets(worker)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	result, err := compare(worker, ids, fds, n)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(result)
}

// result is what one push, and one write, have taken.
type result struct {
	Push   float64 `json:"push"` // ns
	Write  float64 `json:"write"`
	Allocs float64 `json:"allocs"` // of one push
}

// sockets returns the IDs of the live connections with their descriptors, found by the client's address. The connections
// themselves are left as they are.
func sockets(worker *wspush.Worker) (ids []string, fds []int, err error) {
	byAddr := map[string]int{}
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			return nil, nil, err
		}
		peer, err := syscall.Getpeername(fd)
		if addr, ok := peer.(*syscall.SockaddrInet4); err == nil && ok {
			byAddr[(&net.TCPAddr{IP: addr.Addr[:], Port: addr.Port}).String()] = fd
		}
	}
	for c := range worker.Conns() {
		fd, ok := byAddr[c.Info().RemoteAddr]
		if !ok {
			return nil, nil, fmt.Errorf("connection %s has no descriptor", c)
		}
		ids = append(ids, c.ID())
		fds = append(fds, fd)
	}
	if len(ids) == 0 {
		return nil, nil, fmt.Errorf("there are no connections")
	}
	return ids, fds, nil
}

func compare(worker *wspush.Worker, ids []string, fds []int, n int) (result, error) {
	data := []byte(strings.Repeat("P", order.Size))
	frame := append([]byte{0x81, order.Size}, data...)
	ctx := context.Background()
	random := rand.New(rand.NewPCG(1, 2))
	sequence := make([]int, chunk)

	push := func() error {
		for _, i := range sequence {
			if _, err := worker.Push(ctx, ids[i], wspush.Text, data); err != nil {
				return err
			}
		}
		return nil
	}
	write := func() error {
		for _, i := range sequence {
			if m, err := syscall.Write(fds[i], frame); err != nil || m < len(frame) {
				return fmt.Errorf("wrote %d of %d bytes: %w", m, len(frame), err)
			}
		}
		return nil
	}

	var before, after runtime.MemStats
	var pushing, writing time.Duration
	var allocs uint64
	done := 0
	for ; done < n; done += chunk {
		for i := range sequence {
			sequence[i] = random.IntN(len(ids))
		}
		// Whichever comes second finds caches warm: they take turns.
		for turn := range 2 {
			if (done/chunk+turn)%2 == 0 {
				runtime.ReadMemStats(&before)
				begin := time.Now()
				if err := push(); err != nil {
					return result{}, err
				}
				pushing += time.Since(begin)
				runtime.ReadMemStats(&after)
				allocs += after.Mallocs - before.Mallocs
				continue
			}
			begin := time.Now()
			if err := write(); err != nil {
				return result{}, err
			}
			writing += time.Since(begin)
		}
	}
	return result{
		Push:   float64(pushing.Nanoseconds()) / float64(done),
		Write:  float64(writing.Nanoseconds()) / float64(done),
		Allocs: float64(allocs) / float64(done),
	}, nil
}
