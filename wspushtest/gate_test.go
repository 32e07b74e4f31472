package wspushtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"
)

// A paused client reads nothing, however often it is paused, and nothing is lost.
func TestPause(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client) {
		s := wspushtest.New(t, nil)
		c := connect(s, nil)
		for i := range 20 {
			c.Pause()
			c.Pause()
			pushed := make(chan error, 1)
			message := fmt.Sprint(i)
			go func() { _, err := s.Worker.Push(t.Context(), c.ID, wspush.Text, []byte(message)); pushed <- err }()
			c.ExpectNothing(2 * time.Millisecond)
			c.Resume()
			c.Resume()
			c.Expect(message)
			if err := <-pushed; err != nil {
				t.Error(err)
			}
		}
	})
}
