package testutil_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// Many may let time pass at once, also none at all. With time.After in its place, this crashes under -race in a few runs of 100.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					testutil.Pass(0)
					testutil.Pass(-time.Second)
				}
				testutil.Pass(time.Minute)
			})
		}
		wg.Wait()
		if took := time.Since(begin); took != time.Minute {
			t.Errorf("a minute took %v", took)
		}
	})
}
