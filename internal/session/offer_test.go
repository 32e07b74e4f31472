package session_test

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wspush/wspush/internal/session"
)

const resumePrefix = "wspush.resume."

func offers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		h.Add("Sec-WebSocket-Protocol", line)
	}
	return h
}

func TestParseOffers(t *testing.T) {
	var plain session.Opener
	ticket := newTicket("")
	text := plain.Text(ticket)
	none, fresh, bad := session.Offer{}, session.Offer{V1: true}, session.Offer{V1: true, Resume: true, Bad: true}
	at := func(offset uint64) session.Offer {
		return session.Offer{V1: true, Resume: true, Ticket: ticket, Offset: offset}
	}
	resume := resumePrefix + text
	for _, tc := range []struct {
		name  string
		lines []string
		want  session.Offer
	}{
		{"nothing", nil, none},
		{"an empty line", []string{""}, none},
		{"others", []string{"chat, superchat"}, none},
		{"v1", []string{"wspush.v1"}, fresh},
		{"v1 among others", []string{"chat,wspush.v1 ,superchat"}, fresh},
		{"v1 with spaces and tabs", []string{" \twspush.v1\t "}, fresh},
		{"v1 in another line", []string{"chat", "superchat, wspush.v1"}, fresh},
		{"v1 twice", []string{"wspush.v1, wspush.v1"}, fresh},
		{"v1 in other letters", []string{"WSPUSH.V1, Wspush.v1, wspush.V1"}, none},
		{"not quite v1", []string{"wspush.v1., wspush.v10, wspush.v2, wspush, .wspush.v1, wspush.v1;x, \"wspush.v1\", wspush.v1 wspush.v1"}, none},
		{"v1 after a space that is none", []string{"\u00a0wspush.v1, \vwspush.v1, \nwspush.v1"}, none},

		{"resume", []string{"wspush.v1, " + resume + ".7"}, at(7)},
		{"resume before v1", []string{resume + ".7,chat", "wspush.v1"}, at(7)},
		{"resume without v1", []string{resume + ".7"}, none},
		{"two of them without v1", []string{resume + ".7, " + resume + ".8"}, none},
		{"resume in other letters", []string{"wspush.v1, WSPUSH.RESUME." + text + ".7"}, fresh},
		{"not quite resume", []string{"wspush.v1, wspush.resume, wspush.resumed." + text + ".7"}, fresh},
		{"twice the same", []string{"wspush.v1, " + resume + ".7, " + resume + ".7"}, bad},
		{"two tickets", []string{"wspush.v1, " + resume + ".7", resumePrefix + plain.Text(newTicket("")) + ".7"}, bad},
		{"a bad one and a good one", []string{resumePrefix, "wspush.v1, " + resume + ".7"}, bad},
		{"a good one and a bad one", []string{"wspush.v1, " + resume + ".7, " + resumePrefix}, bad},

		{"no ticket, no offset", []string{"wspush.v1, " + resumePrefix}, bad},
		{"no ticket", []string{"wspush.v1, " + resumePrefix + ".7"}, bad},
		{"no offset, no dot", []string{"wspush.v1, " + resume}, bad},
		{"one more part", []string{"wspush.v1, " + resume + ".7.7"}, bad},
		{"a dot too many", []string{"wspush.v1, " + resume + "..7"}, bad},
		{"a cut ticket", []string{"wspush.v1, " + resumePrefix + text[1:] + ".7"}, bad},
		{"a space within", []string{"wspush.v1, " + resume + " .7"}, bad},
		{"a quoted one", []string{`wspush.v1, "` + resume + `.7"`}, fresh},
	} {
		if got := plain.ParseOffers(offers(tc.lines...)); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}

	for count, want := range map[string]uint64{
		"0": 0, "1": 1, "9": 9, "10": 10, "9007199254740993": 1<<53 + 1, "9223372036854775808": 1 << 63,
		"18446744073709551609": math.MaxUint64 - 6, "18446744073709551615": math.MaxUint64,
	} {
		if got := plain.ParseOffers(offers("wspush.v1, " + resume + "." + count)); got != at(want) {
			t.Errorf("offset %s: %+v", count, got)
		}
	}
	for _, count := range []string{
		"", "-1", "-0", "+1", "00", "01", "007", "1 2", "1_000", "0x10", "1e3", "1.0", "a", "NaN", "Infinity", "null", "undefined", "１", "٣", "1\x00", "/", ":",
		"18446744073709551616", "18446744073709551620", "18446744073709551625", "28446744073709551615", "99999999999999999999", "100000000000000000000", "018446744073709551615",
		strings.Repeat("0", 100), strings.Repeat("9", 1<<20),
	} {
		if got := plain.ParseOffers(offers("wspush.v1", resume+"."+count)); got != bad {
			t.Errorf("offset %.30q: %+v", count, got)
		}
	}
}

// Whatever a handshake has in its header, reading it costs next to no memory, and no more time than that of the header is long. A client
// that does not speak of sessions pays nothing.
func TestParseOffersCost(t *testing.T) {
	plain, sealed := session.Opener{}, session.NewOpener(keys(t, "a"))
	text := sealed.Text(newTicket("http://10.0.0.5:48775"))
	numbered := make([]string, 10_000)
	for i := range numbered {
		numbered[i] = "protocol-" + strconv.Itoa(i)
	}
	fresh, bad := session.Offer{V1: true}, session.Offer{V1: true, Resume: true, Bad: true}
	for name, tc := range map[string]struct {
		header http.Header
		want   session.Offer
		most   float64 // allocations
	}{
		"plain":                     {http.Header{}, session.Offer{}, 0},
		"plain, 10,000 offered":     {offers(strings.Join(numbered, ", ")), session.Offer{}, 0},
		"10,000 offered":            {offers(strings.Join(numbered, ", ") + ", wspush.v1"), fresh, 0},
		"in 10,000 lines":           {offers(append(slices.Clone(numbered), "wspush.v1")...), fresh, 0},
		"10,000 times v1":           {offers(strings.Repeat("wspush.v1,", 10_000)), fresh, 0},
		"10,000 tickets":            {offers("wspush.v1, " + strings.Repeat(resumePrefix+text+".7,", 10_000)), bad, 0},
		"1 MB of commas":            {offers("wspush.v1" + strings.Repeat(",", 1<<20)), fresh, 0},
		"1 MB of spaces":            {offers("wspush.v1," + strings.Repeat(" ", 1<<20)), fresh, 0},
		"1 MB of dots":              {offers("wspush.v1," + resumePrefix + strings.Repeat(".", 1<<20)), bad, 0},
		"1 MB of letters":           {offers("wspush.v1," + strings.Repeat("x", 1<<20)), fresh, 0},
		"a ticket of 1 MB":          {offers("wspush.v1", resumePrefix+strings.Repeat("A", 1<<20)+".7"), bad, 0},
		"an offset of 1 MB":         {offers("wspush.v1", resumePrefix+text+"."+strings.Repeat("1", 1<<20)), bad, 0},
		"a ticket that opens not":   {offers("wspush.v1", resumePrefix+strings.Repeat("A", 1024)+".7"), bad, 20},
		"a ticket of no key":        {offers("wspush.v1", resumePrefix+"A"+text[1:]+".7"), bad, 20},
		"a ticket without a secret": {offers("wspush.v1", resumePrefix+".7"), bad, 0},
	} {
		for with, o := range map[string]session.Opener{"keys": sealed, "no keys": plain} {
			if got := o.ParseOffers(tc.header); got != tc.want {
				t.Errorf("%s, with %s: %+v, want %+v", name, with, got, tc.want)
			}
			if n := testing.AllocsPerRun(3, func() { o.ParseOffers(tc.header) }); n > tc.most {
				t.Errorf("%s, with %s: %v allocations", name, with, n)
			}
		}
	}
}

// FuzzParseOffers: whatever a client offers, a session is only asked for by exactly one offer, which says in the only way in which it can
// be said which session and after which message.
func FuzzParseOffers(f *testing.F) {
	openers := map[bool]session.Opener{false: {}, true: session.NewOpener(keys(f, "a"))}
	for _, withKeys := range []bool{false, true} {
		o := openers[withKeys]
		ticket := fixedTicket()
		if withKeys {
			ticket.Owner = "http://10.0.0.5:48775"
		}
		text := o.Text(ticket)
		for _, count := range []string{"0", "7", "07", "-1", "18446744073709551615", "18446744073709551616", ""} {
			f.Add("wspush.v1, "+resumePrefix+text+"."+count, "chat", withKeys)
		}
		f.Add("chat, wspush.v1", resumePrefix+text+".7,"+resumePrefix+text+".7", withKeys)
		f.Add("wspush.V1", resumePrefix+text[1:]+".7", withKeys)
	}
	f.Fuzz(func(t *testing.T, one, two string, withKeys bool) {
		o := openers[withKeys]
		got := o.ParseOffers(offers(one, two))
		v1, resumes := false, []string(nil)
		for _, name := range strings.Split(one+","+two, ",") {
			name = strings.Trim(name, " \t")
			v1 = v1 || name == session.Subprotocol
			if strings.HasPrefix(name, resumePrefix) {
				resumes = append(resumes, name)
			}
		}
		switch {
		case !v1 && got != (session.Offer{}):
			t.Errorf("without v1: %+v", got)
		case !v1:
		case !got.V1 || got.Resume != (len(resumes) > 0):
			t.Errorf("%q: %+v", resumes, got)
		case got.Bad && got != (session.Offer{V1: true, Resume: true, Bad: true}):
			t.Errorf("a bad one is %+v", got)
		case !got.Resume || got.Bad:
			if len(resumes) == 1 {
				mustBeBad(t, o, resumes[0])
			}
		case len(resumes) != 1 || resumes[0] != resumePrefix+o.Text(got.Ticket)+"."+strconv.FormatUint(got.Offset, 10):
			t.Errorf("%q: %+v", resumes, got)
		}
	})
}

// mustBeBad ends the test if there is something wrong neither with the ticket nor with the offset of an offer.
func mustBeBad(t *testing.T, o session.Opener, name string) {
	t.Helper()
	parts := strings.Split(strings.TrimPrefix(name, resumePrefix), ".")
	if len(parts) != 2 {
		return
	}
	n, err := strconv.ParseUint(parts[1], 10, 64)
	if _, ok := o.Open(parts[0]); ok && err == nil && strconv.FormatUint(n, 10) == parts[1] {
		t.Fatalf("%q is bad", name)
	}
}

func BenchmarkParseOffers(b *testing.B) {
	o := session.NewOpener(keys(b, "a"))
	header := offers("wspush.v1, " + resumePrefix + o.Text(newTicket("http://10.0.0.5:48775")) + ".7")
	for b.Loop() {
		if o.ParseOffers(header).Bad {
			b.Fatal("bad")
		}
	}
}
