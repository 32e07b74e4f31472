package bulk_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/bulk"
)

// What is remembered is forgotten after five minutes, and bounded.
func TestWholes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w bulk.Wholes
		w.Note("a", bulk.NeedingWhole(false))
		if w.Has("a") {
			t.Error("a request that was not needed whole is remembered")
		}
		w.Note("a", bulk.NeedingWhole(true))
		<-time.After(5*time.Minute - 1)
		if !w.Has("a") || w.Has("b") {
			t.Error("too early")
		}
		<-time.After(1)
		if w.Has("a") {
			t.Error("it is still remembered")
		}
		for i := range 2000 {
			w.Note(fmt.Sprint(i), bulk.NeedingWhole(true))
		}
		n := 0
		for i := range 2000 {
			if w.Has(fmt.Sprint(i)) {
				n++
			}
		}
		if n != 1024 || !w.Has("1999") {
			t.Errorf("%d are remembered", n)
		}
	})
}
