package testutil

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestEventuallyGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		wantFailure(t, "in vain for pigs to fly", func(tb testing.TB) {
			Eventually(tb, "pigs to fly", func() bool { return false })
		})
		if took := time.Since(start); took != patience {
			t.Errorf("gave up after %v", took)
		}
	})
}
