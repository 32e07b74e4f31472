package console

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// keepFirst keeps the same elements as sorting everything would.
func TestKeepFirst(t *testing.T) {
	compare := func(a, b candidate) int { return a.Pending - b.Pending }
	for _, n := range []int{0, 1, maxRows - 1, maxRows, maxRows + 1, 5 * maxRows} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			var all, first []candidate
			for range n {
				c := candidate{state: state{Pending: rand.IntN(2 * maxRows)}}
				all = append(all, c)
				first = keepFirst(first, c, compare)
			}
			slices.SortFunc(all, compare)
			if want := all[:min(n, maxRows)]; !slices.Equal(first, want) {
				t.Errorf("kept %v", first)
			}
		})
	}
}
