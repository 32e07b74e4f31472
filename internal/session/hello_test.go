package session_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/wspush/wspush/internal/session"
)

func TestHello(t *testing.T) {
	for want, h := range map[string]session.Hello{
		`{"address":"http://1@a/ws,http://1@b/ws","ticket":"TICKET","window":120,"protocol":"","resumed":false}`: {
			Address: "http://1@a/ws,http://1@b/ws", Ticket: "TICKET", Window: 120},
		// Without sessions.
		`{"address":"http://1@a/ws","window":0,"protocol":"chat","resumed":false}`: {
			Address: "http://1@a/ws", Ticket: "TICKET", Protocol: "chat"},
		`{"address":"","window":0,"protocol":"","resumed":false}`: {},
		// Resumed, also before the first message.
		`{"address":"A","ticket":"T","window":1,"protocol":"chat","resumed":true,"offset":0}`: {
			Address: "A", Ticket: "T", Window: 1, Protocol: "chat", Resumed: true},
		`{"address":"A","ticket":"T","window":1,"protocol":"","resumed":true,"offset":18446744073709551615,"missed":3}`: {
			Address: "A", Ticket: "T", Window: 1, Resumed: true, Offset: math.MaxUint64, Missed: 3, Why: session.WhyUnknown},
		// Not resumed.
		`{"address":"A","ticket":"T","window":1,"protocol":"","resumed":false,"why":"expired"}`: {
			Address: "A", Ticket: "T", Window: 1, Offset: 7, Missed: 3, Why: session.WhyExpired},
		`{"address":"A","window":0,"protocol":"","resumed":false,"why":"unknown"}`:     {Address: "A", Why: session.WhyUnknown},
		`{"address":"A","window":0,"protocol":"","resumed":false,"why":"unreachable"}`: {Address: "A", Why: session.WhyUnreachable},
		// As it is, but for what JSON must escape.
		`{"address":"http://a/<&>?ü","window":0,"protocol":"\"\\\u0006","resumed":false}`: {Address: "http://a/<&>?ü", Protocol: "\"\\\x06"},
	} {
		got := string(h.JSON())
		if got != want || !json.Valid([]byte(got)) {
			t.Errorf("%+v:\n%s, want\n%s", h, got, want)
		}
		if isControl, _, _ := session.Control([]byte(got)); isControl {
			t.Errorf("%s is control", got)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		kind  string
		after int
		want  string
	}{
		{session.Unauthorized, 0, `{"refused":"unauthorized"}`},
		{session.Forbidden, -1, `{"refused":"forbidden"}`},
		{session.Retry, 5, `{"refused":"retry","after":5}`},
		{session.Retry, math.MinInt, `{"refused":"retry"}`},
	} {
		if got := string(session.Refused(tc.kind, tc.after)); got != tc.want {
			t.Errorf("%s, %d: %s, want %s", tc.kind, tc.after, got, tc.want)
		}
	}
}

// A slice that somebody has appended to is nobody else's.
func TestHelloIsNotShared(t *testing.T) {
	h := session.Hello{Address: strings.Repeat("a", 100)}
	first := h.JSON()
	_ = append(first, "more"...)
	if second := string(h.JSON()); second != string(first) {
		t.Errorf("%s and %s", first, second)
	}
}
