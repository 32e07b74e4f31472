package wspush

import "strings"

// maxMistakes is how many mistakes a word may have to be taken for a known one.
const maxMistakes = 2

// nearest returns the known word that a misspelt one is most like, or "" if it is like none.
func nearest(word string, known []string) string {
	best, fewest := "", maxMistakes+1
	for _, k := range known {
		if len(word) > len(k)+maxMistakes { // it may be very long
			continue
		}
		if n := mistakes(strings.ToLower(word), k); n < fewest && n < len(k)-1 {
			best, fewest = k, n
		}
	}
	return best
}

// mistakes counts the letters that are wrong, missing, too many, or swapped with the next: the optimal string alignment
// distance of a and b.
func mistakes(a, b string) int {
	before := make([]int, len(b)+1) // of a without its last two letters, as far as the loop has come
	last := make([]int, len(b)+1)   // without its last letter
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		this := make([]int, len(b)+1)
		this[0] = i
		for j := 1; j <= len(b); j++ {
			n := last[j-1]
			if a[i-1] != b[j-1] {
				n++
			}
			n = min(n, last[j]+1, this[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, before[j-2]+1)
			}
			this[j] = n
		}
		before, last = last, this
	}
	return last[len(b)]
}
