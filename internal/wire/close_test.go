package wire

import (
	"strings"
	"testing"
)

func TestCheckClose(t *testing.T) {
	allowed := func(code int) bool {
		switch code {
		case 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014:
			return true
		}
		return code >= 3000 && code <= 4999
	}
	for code := -1; code <= 5001; code++ {
		if err := CheckClose(code, ""); (err == nil) != allowed(code) {
			t.Errorf("code %d: %v", code, err)
		}
	}
	for reason, ok := range map[string]bool{
		strings.Repeat("x", 123): true,
		strings.Repeat("x", 124): false,
		"\xff":                   false,
	} {
		if err := CheckClose(1000, reason); (err == nil) != ok {
			t.Errorf("a reason of %d bytes: %v", len(reason), err)
		}
	}
}
