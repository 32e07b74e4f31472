package wspush_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// TestContent: what is not the message itself is refused, whichever way it comes, by single pushes and by bulk requests, and the answer
// says what is understood. Everything else stays what it was: an unknown type is text.
func TestContent(t *testing.T) {
	const (
		coded   = "identity" // Accept-Encoding of the answer
		message = "text/plain;charset=utf-8, application/json, application/octet-stream"
		bulk    = "application/x-ndjson"
		text    = testutil.Text
		binary  = testutil.Binary
	)
	type header = http.Header
	content := func(values ...string) header { return header{"Content-Type": values} }
	encoding := func(values ...string) header { return header{"Content-Encoding": values} }
	amazon := header{"Authorization": {"AWS4-HMAC-SHA256 Credential=x"}, "Content-Type": {"application/octet-stream; charset=utf-16"}}
	for _, name := range doors {
		t.Run(name, func(t *testing.T) {
			d := newDoor(t, name, wspush.WorkerOptions{MaxPushBytes: 1000})
			for _, tt := range []struct {
				header header
				query  string
				want   testutil.Opcode // of the message, or 0 for 415
			}{
				// codings
				{encoding("identity"), "", text},
				{encoding("Identity", "", " , identity"), "", text},
				{encoding(""), "", text},
				{encoding("gzip"), "", 0},
				{encoding("GZIP"), "", 0},
				{encoding("br"), "?type=binary", 0},
				{encoding("x-unheard-of"), "", 0},
				{encoding("identity, gzip"), "", 0},
				{encoding("gzip,identity"), "", 0},
				{encoding("identity", "zstd"), "", 0},
				{encoding("utf-8"), "", 0},
				{header{"Content-Encoding": {"deflate"}, "Content-Type": {"application/octet-stream"}}, "", 0},

				// charsets
				{content("text/plain; charset=utf-8"), "", text},
				{content("text/plain;charset=UTF-8"), "", text},
				{content("text/plain; charset=utf8"), "", text},
				{content(`application/json; CHARSET="UTF-8"`), "", text},
				{content(`application/json; charset="utf\-8"`), "", text},
				{content("text/plain; charset=us-ascii"), "", text},
				{content("text/plain; charset="), "", text},
				{content("text/plain; charset"), "", text},
				{content("text/plain;; a=b; charset=utf-8;"), "", text},
				{content(`text/plain; a="; charset=utf-16"`), "", text},
				{content(`text/plain; a="\"; charset=utf-16"`), "", text},
				{content("text/plain; charsets=utf-16"), "", text},
				{content("text/plain; charset=utf-16"), "", 0},
				{content("text/plain; charset=UTF-16LE"), "", 0},
				{content("text/plain;CharSet = utf-16"), "", 0},
				{content(`text/plain; charset="utf-16"`), "", 0},
				{content(`text/plain; a="x;"; charset=utf-16`), "", 0},
				{content("text/plain; ; a; charset=utf-16"), "", 0},
				{content("text/plain; charset=utf-8; charset=utf-16"), "", 0},
				{content("text/plain; charset*=utf-16''x"), "", 0},
				{content("text/plain; charset=iso-8859-1"), "", 0},
				{content("text/plain; charset=utf-8859"), "", 0},
				{content("text/plain; charset=x"), "?type=text", 0},
				{content("application/json; charset=utf-16"), "", 0},
				{content("application/x-www-form-urlencoded; charset=windows-1252"), "", 0},
				{content("; charset=utf-16"), "", 0},
				{content("text/plain; charset=utf-16"), "?type=binary", binary},
				{content("image/svg+xml; charset=utf-16"), "", binary},
				{content("application/octet-stream; charset=binary"), "", binary},
				{content("application/octet-stream; charset=utf-16"), "?type=text", 0},
				{amazon, "", 0},

				// media types
				{nil, "", text},
				{content("application/x-www-form-urlencoded"), "", text},
				{content("application/vnd.unknown"), "", text},
				{content("multipart"), "", text},
				{content("nothing that is a type; at all"), "", text},
				{content("Image/PNG"), "", binary},
				{content("multipart/form-data; boundary=x"), "", 0},
				{content("Multipart/Mixed"), "", 0},
				{content(" multipart/form-data"), "?type=text", 0},
				{content("multipart/form-data"), "?type=binary", 0},
				{content("text/plain", "multipart/form-data"), "", 0},
				{content("text/plain", "text/plain"), "", 0},
				{content("text/plain, multipart/form-data"), "", 0},
			} {
				resp := d.ask(t, "POST", "/ws/@connections/ID"+tt.query, tt.header, "x")
				if tt.want != 0 {
					if resp.StatusCode != 204 || resp.Header.Get("Accept")+resp.Header.Get("Accept-Encoding") != "" {
						t.Errorf("%v%s: %s", tt.header, tt.query, resp.Status)
					} else {
						d.client.Expect(tt.want, "x")
					}
					continue
				}
				accept := [2]string{message, ""}
				if tt.header.Get("Content-Encoding") != "" {
					accept = [2]string{"", coded}
				}
				if got := [2]string{resp.Header.Get("Accept"), resp.Header.Get("Accept-Encoding")}; got != accept {
					t.Errorf("%v%s: accepts %q, want %q", tt.header, tt.query, got, accept)
				}
				want{status: 415, kind: "unsupported-media-type"}.check(t, "POST", resp)
			}

			// The order of the checks: the query comes before, the connection before that, and the size afterwards.
			gzip := encoding("gzip")
			for target, status := range map[string]int{
				"/ws/@connections/ID?type=x": 400, "/other/@connections/ID": 404, "/ws/@connections/" + unknownID: 410,
			} {
				if resp := d.ask(t, "POST", target, gzip, "x"); resp.StatusCode != status {
					t.Errorf("%s: %s, want %d", target, resp.Status, status)
				}
			}
			if resp := d.ask(t, "POST", "/ws/@connections/ID", gzip, strings.Repeat("x", 1001)); resp.StatusCode != 415 {
				t.Errorf("too large as well: %s", resp.Status)
			}
			for _, method := range []string{"GET", "HEAD"} { // whose content means nothing
				if resp := d.ask(t, method, "/ws/@connections/ID", header{"Content-Encoding": {"gzip"}, "Content-Type": {"multipart/mixed"}}, ""); resp.StatusCode != 200 {
					t.Errorf("%s: %s", method, resp.Status)
				}
			}

			for _, tt := range []struct {
				header    header
				status    int
				accept    string
				encodings string
			}{
				{content(bulk), 200, "", ""},
				{content(bulk + "; charset=utf-8"), 200, "", ""},
				{content(bulk + `; charset="UTF8"; answer=after`), 200, "", ""},
				{header{"Content-Type": {bulk}, "Content-Encoding": {"identity", ""}}, 200, "", ""},
				{content(bulk + "; charset=utf-16"), 415, bulk, ""},
				{content(bulk + "; charset=iso-8859-1"), 415, bulk, ""},
				{content("multipart/form-data; boundary=x"), 415, bulk, ""},
				{content("application/json"), 415, bulk, ""},
				{content(bulk, bulk), 415, bulk, ""},
				{nil, 415, bulk, ""},
				{header{"Content-Type": {bulk}, "Content-Encoding": {"gzip"}}, 415, "", coded},
				{header{"Content-Type": {bulk}, "Content-Encoding": {"identity, br"}}, 415, "", coded},
				{header{"Content-Type": {bulk}, "Content-Encoding": {"identity", "br"}}, 415, "", coded},
			} {
				resp := d.ask(t, "POST", "/ws/@connections", tt.header, textLine(d.conn.ID(), "bulk")+"\n")
				if resp.StatusCode != tt.status || resp.Header.Get("Accept") != tt.accept || resp.Header.Get("Accept-Encoding") != tt.encodings {
					t.Errorf("bulk: %v: %s, %v", tt.header, resp.Status, resp.Header)
				}
				if tt.status == 200 && resp.StatusCode == 200 {
					d.client.Expect(text, "bulk")
				}
			}
		})
	}
}

// A transfer coding that is not understood is net/http's to refuse: it concerns the message between two servers, not the content.
func TestTransferCoding(t *testing.T) {
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil)+"/ws", testutil.Options{})
	for _, coding := range []string{"gzip, chunked", "gzip", "identity"} {
		resp, _ := answerTo(t, "http://"+w.Addr().String(), "POST /ws/@connections/"+conn.ID()+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "+coding+"\r\n\r\n1\r\nx\r\n0\r\n\r\n")
		if resp.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: %s", coding, resp.Status)
		}
	}
	if resp, _ := answerTo(t, "http://"+w.Addr().String(), "POST /ws/@connections/"+conn.ID()+" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nlast"); resp.StatusCode != 204 {
		t.Error(resp.Status)
	}
	client.Expect(testutil.Text, "last")
}
