package session_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/testutil"
)

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func keys(t testing.TB, names ...string) *seal.Keys {
	t.Helper()
	var shared [][]byte
	for _, name := range names {
		shared = append(shared, testutil.Key(name))
	}
	k, err := seal.New(shared)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newTicket(owner string) session.Ticket {
	return session.Ticket{Session: uuid.NewString(), Secret: session.NewSecret(), Owner: owner}
}

// fixedTicket is the same in each of a fuzzer's processes.
func fixedTicket() session.Ticket {
	return session.Ticket{Session: "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", Secret: [16]byte([]byte("0123456789abcdef"))}
}

func TestTicket(t *testing.T) {
	var plain session.Opener
	sealed := session.NewOpener(keys(t, "a"))
	const owner = "https://worker-17.push.example:48775"
	for name, tc := range map[string]struct {
		opener session.Opener
		ticket session.Ticket
		length int
	}{
		"plain":            {plain, newTicket(""), 43},
		"no keys":          {session.NewOpener(nil), newTicket(""), 43},
		"zero":             {plain, session.Ticket{Session: uuid.Nil.String()}, 43},
		"sealed":           {sealed, newTicket("http://10.0.0.5:48775"), 92},
		"sealed, no owner": {sealed, newTicket(""), 64},
		"sealed, a name":   {sealed, newTicket(owner), 112},
		"sealed, 150":      {sealed, newTicket(strings.Repeat("a", 150)), 300 - len(resumePrefix) - len(".18446744073709551615") - 1},
	} {
		text := tc.opener.Text(tc.ticket)
		if len(text) != tc.length || strings.Trim(text, base64url) != "" {
			t.Errorf("%s: %q has %d bytes, want %d", name, text, len(text), tc.length)
		}
		if again := tc.opener.Text(tc.ticket); again != text {
			t.Errorf("%s: one ticket has two texts, %s and %s", name, text, again)
		}
		if got, ok := tc.opener.Open(text); !ok || got != tc.ticket {
			t.Errorf("%s: %+v, %v, want %+v", name, got, ok, tc.ticket)
		}
	}
	one, two := newTicket(owner), newTicket(owner)
	if a, b := sealed.Text(one), sealed.Text(two); a[:16] == b[:16] || a[len(a)-16:] == b[len(b)-16:] {
		t.Errorf("two tickets of one owner have something in common: %s and %s", a, b)
	}
}

// Every address with which a worker can have sealed IDs is short enough for a ticket.
func TestLongestOwner(t *testing.T) {
	k := keys(t, "a")
	o := session.NewOpener(k)
	longest := 0
	for n := range 1024 {
		ticket := newTicket("http://" + strings.Repeat("a", n))
		if _, err := k.Seal(seal.Place{Address: ticket.Owner, ID: ticket.Session}); err != nil {
			break
		}
		longest = n
		if got, ok := o.Open(o.Text(ticket)); !ok || got != ticket {
			t.Fatalf("with an address of %d bytes, the ticket does not open", len(ticket.Owner))
		}
	}
	if longest < 500 {
		t.Errorf("only %d bytes were tried", longest)
	}
}

func TestTicketRefused(t *testing.T) {
	var plain session.Opener
	sealed := session.NewOpener(keys(t, "a"))
	for name, o := range map[string]session.Opener{"plain": plain, "sealed": sealed} {
		ticket := fixedTicket()
		text := o.Text(ticket)
		last := strings.IndexByte(base64url, text[len(text)-1])
		for _, changed := range []string{
			"", "A", "AA", "AAAA", text + "A", text + "AA", text + "AAAA", "A" + text, text + "=", text + "==", text + "\n", "\n" + text, text[:20] + "\r\n" + text[20:], text + " ",
			text[:20] + "+" + text[21:], text[:20] + "/" + text[21:], text[:20] + "." + text[21:], text[:20] + "\x00" + text[21:], text[:20] + "é" + text[22:], "v1." + text, strings.Repeat(text, 3), strings.Repeat(text, 100),
		} {
			if got, ok := o.Open(changed); ok {
				t.Errorf("%s: %q opens: %+v", name, changed, got)
			}
		}
		for n := range text {
			if _, ok := o.Open(text[:n]); ok {
				t.Errorf("%s: %d bytes of it open", name, n)
			}
			if _, ok := o.Open(text[n+1:]); ok {
				t.Errorf("%s: its last %d bytes open", name, len(text)-n-1)
			}
		}
		// The last character of 43 has two bits that say nothing: with any of them set it would be a second text of the ticket.
		for bits := 1; name == "plain" && bits < 4; bits++ {
			if _, ok := o.Open(text[:len(text)-1] + base64url[last|bits:][:1]); ok {
				t.Errorf("with the bits %02b behind the end it opens", bits)
			}
		}
	}

	// Without keys, a changed ticket is another one. With keys it is none.
	text := sealed.Text(newTicket("http://10.0.0.5:48775"))
	for i := range text {
		for _, c := range []byte(base64url) {
			if changed := text[:i] + string(c) + text[i+1:]; changed != text {
				if got, ok := sealed.Open(changed); ok {
					t.Fatalf("changed at %d: %+v", i, got)
				}
			}
		}
	}
	// Nor is the ticket of a worker without a Cluster one of a worker in it, or the other way round.
	if got, ok := sealed.Open(plain.Text(fixedTicket())); ok {
		t.Errorf("a plain ticket opens with keys: %+v", got)
	}
	for _, owner := range []string{"", "http://10.0.0.5:48775"} {
		if got, ok := plain.Open(sealed.Text(newTicket(owner))); ok {
			t.Errorf("a sealed ticket opens without keys: %+v", got)
		}
	}
}

// Tickets outlive a worker, so every version must seal them alike: with keys made by HKDF for tickets, tag = HMAC-SHA256(plain)[:16], then
// AES-256-CTR with the tag as nonce. This one was made by another program.
func TestTicketStaysTheSame(t *testing.T) {
	ticket := fixedTicket()
	if text := (session.Opener{}).Text(ticket); text != "G51rzbv9Sy2bXauN-71L7TAxMjM0NTY3ODlhYmNkZWY" {
		t.Errorf("plain: %s", text)
	}
	ticket.Owner = "http://10.0.0.5:48775"
	if text := session.NewOpener(keys(t, "a")).Text(ticket); text != "OQOPO0FeG_1RCt7Ythr2qIrJKtKhlJcpdQRyiLINzJJ5Juks3nzSudYhF3ndYA5SoIwVZFoe6ryy8dNediHowoaYOBsJ" {
		t.Errorf("sealed: %s", text)
	}
}

// What opens, but is too short to be a ticket, is none.
func TestShortTicket(t *testing.T) {
	k := keys(t, "a")
	for n := range 32 {
		text := base64.RawURLEncoding.EncodeToString(k.SealTicket(make([]byte, n)))
		if got, ok := session.NewOpener(k).Open(text); ok {
			t.Errorf("%d bytes: %+v", n, got)
		}
	}
}

// While keys are being changed, any worker opens the tickets of the others; when an old key is gone, its tickets are.
func TestTicketRotation(t *testing.T) {
	steps := []session.Opener{
		session.NewOpener(keys(t, "old")), session.NewOpener(keys(t, "old", "new")), session.NewOpener(keys(t, "new", "old")), session.NewOpener(keys(t, "new")),
	}
	ticket := newTicket("http://10.0.0.5:48775")
	for i, sealer := range steps {
		for j, opener := range steps {
			got, ok := opener.Open(sealer.Text(ticket))
			if want := i < 2 && j < 3 || i > 1 && j > 0; ok != want || ok && got != ticket {
				t.Errorf("what step %d has sealed, step %d opens: %v, %+v", i, j, ok, got)
			}
		}
		if _, ok := session.NewOpener(keys(t, "another cluster")).Open(sealer.Text(ticket)); ok {
			t.Errorf("another cluster opens what step %d has sealed", i)
		}
	}
}

// A sealed ID says where a connection is, as a ticket does, and is made with the same keys. It gives no right to receive.
func TestSealedIDIsNoTicket(t *testing.T) {
	k := keys(t, "a")
	id, err := k.Seal(seal.Place{Address: "http://10.0.0.5:48775/long-enough", Instance: 7, ID: uuid.NewString()})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{id, strings.TrimPrefix(id, "v1.")} {
		if got, ok := session.NewOpener(k).Open(text); ok {
			t.Errorf("%q opens: %+v", text, got)
		}
	}
}

func TestMatches(t *testing.T) {
	ticket := newTicket("")
	if !ticket.Matches(ticket.Secret) || ticket.Matches([16]byte{}) || ticket.Matches(session.NewSecret()) {
		t.Error("a ticket matches another secret, or does not match its own")
	}
	for i := range ticket.Secret {
		changed := ticket.Secret
		changed[i] ^= 0x80
		if ticket.Matches(changed) {
			t.Errorf("with byte %d changed it matches", i)
		}
	}
}

// FuzzTicket: what opens is what was sealed, and with a byte of its text changed it does not open, unless without keys, where it is
// another ticket.
func FuzzTicket(f *testing.F) {
	var plain session.Opener
	sealed, second := session.NewOpener(keys(f, "a")), session.NewOpener(keys(f, "b", "a"))
	f.Add(make([]byte, 32), "http://10.0.0.5:48775", uint16(0), byte('A'))
	f.Add([]byte("0123456789abcdef0123456789abcdef"), "", uint16(63), byte('_'))
	f.Add([]byte("x"), "https://[::1]:48775/prefix", uint16(20), byte('\n'))
	f.Fuzz(func(t *testing.T, random []byte, owner string, at uint16, c byte) {
		if len(owner) > 713 { // the longest address that a sealed ID has room for
			owner = owner[:713]
		}
		raw := [32]byte{}
		copy(raw[:], random)
		ticket := session.Ticket{Session: uuid.UUID(raw[:16]).String(), Secret: [16]byte(raw[16:]), Owner: owner}
		text := sealed.Text(ticket)
		if strings.Trim(text, base64url) != "" {
			t.Fatalf("%q is no token", text)
		}
		for _, o := range []session.Opener{sealed, second} {
			if got, ok := o.Open(text); !ok || got != ticket {
				t.Errorf("%+v, %v, want %+v", got, ok, ticket)
			}
		}
		change := func(text string) string {
			i := int(at) % len(text)
			return text[:i] + string([]byte{c}) + text[i+1:]
		}
		if changed := change(text); changed != text {
			if got, ok := second.Open(changed); ok {
				t.Errorf("%q opens: %+v", changed, got)
			}
		}
		ticket.Owner = ""
		text = plain.Text(ticket)
		if got, ok := plain.Open(text); !ok || got != ticket {
			t.Errorf("%+v, %v, want %+v", got, ok, ticket)
		}
		changed := change(text)
		if got, ok := plain.Open(changed); ok && (plain.Text(got) != changed || changed != text && got == ticket) {
			t.Errorf("%q opens: %+v", changed, got)
		}
	})
}

// FuzzOpen: a text that opens is the only one of its ticket, and with keys it is one that they have sealed.
func FuzzOpen(f *testing.F) {
	var plain session.Opener
	sealed := session.NewOpener(keys(f, "a"))
	ticket := fixedTicket()
	f.Add(plain.Text(ticket))
	f.Add(sealed.Text(ticket))
	ticket.Owner = "http://10.0.0.5:48775"
	owned := sealed.Text(ticket)
	f.Add(owned)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if got, ok := plain.Open(text); ok && plain.Text(got) != text {
			t.Errorf("%q opens: %+v", text, got)
		}
		if got, ok := sealed.Open(text); ok && (got.Session != ticket.Session || got.Secret != ticket.Secret || sealed.Text(got) != text) {
			t.Errorf("%q opens: %+v", text, got)
		}
	})
}
