package wspush

import "testing"

// A misspelt word is like a known one after two mistakes, and not after three.
func TestNearest(t *testing.T) {
	known := []string{"code", "reason"}
	for word, want := range map[string]string{
		"cdoe": "code", "ocde": "code", "CODE": "code", "codes": "code", "cod": "code", "co": "code", "close": "code", "status": "",
		"raeson": "reason", "raesno": "reason", "season": "reason", "reas": "reason", "rea": "", "x": "", "": "", "c": "", "codecode": "",
	} {
		if got := nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
	for _, tc := range []struct {
		a, b string
		n    int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "cab", 2}, {"kitten", "sitting", 3},
	} {
		if n := mistakes(tc.a, tc.b); n != tc.n {
			t.Errorf("%q and %q: %d, want %d", tc.a, tc.b, n, tc.n)
		}
	}
}
