package session_test

import (
	"testing"

	"github.com/wspush/wspush/internal/session"
)

func TestEnds(t *testing.T) {
	for code, want := range map[int]bool{
		1000: true, 1005: true, session.CodeUnauthorized: true, session.CodeForbidden: true, 3900: true, 3902: true, session.CodeReplaced: true, 4000: true, 4999: true,
		session.CodeBack: false,
		-1:               false, 0: false, 999: false, 1001: false, 1002: false, 1003: false, 1004: false, 1006: false, 1007: false, 1008: false, 1009: false, 1010: false,
		1011: false, 1012: false, 1013: false, 1014: false, 1015: false, 2000: false, 2999: false, 5000: false, 65535: false,
	} {
		if got := session.Ends(code); got != want {
			t.Errorf("%d ends a session: %v, want %v", code, got, want)
		}
	}
}
