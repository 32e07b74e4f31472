package lane

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"reflect"
	"testing"
)

// FuzzPlainPush: net/http reads every plain push as one request of the same size, and makes the same request of it.
func FuzzPlainPush(f *testing.F) {
	for _, seed := range []string{
		plainHead + "Content-Length: 3\r\n\r\n123",
		"POST /%2f?type=binary HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: [::1]:1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: x\r\nx-a: 1\r\nX-A:2\r\nX-a:  3  \r\nX-B:\r\nContent-Length: 1\r\n\r\nx",
		"POST //ws?a=b&c=%zz HTTP/1.1\r\nHost: x\r\ncookie: a=b\r\nCOOKIE: c\r\n_x.y-z: 1\r\ncontent-length: 1\r\n\r\nx",
		"POST /a b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"POST /a#b HTTP/1.1\r\nHost: x\r\nPragma: no-cache\r\nContent-Length: 0\r\n\r\n",
		"POST /%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		size := plainPush(raw)
		if size == 0 {
			return
		}
		in := bufio.NewReaderSize(bytes.NewReader(raw), len(raw)+16)
		want, err := http.ReadRequest(in)
		c := &conn{context: t.Context(), template: &http.Request{Method: "POST", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}}
		p := c.newPush(raw[:size])
		if p == nil || err != nil {
			if p != nil {
				t.Errorf("%q: %v", raw, err)
			} else if err == nil {
				t.Errorf("%q: net/http reads %+v", raw, want)
			}
			return
		}
		got := p.request
		wantBody, err := io.ReadAll(want.Body)
		if err != nil {
			t.Fatal(err)
		}
		if used := len(raw) - in.Buffered(); used != size {
			t.Errorf("%q: size %d, but net/http has read %d", raw, size, used)
		}
		gotBody, err := io.ReadAll(got.Body)
		if err != nil || !bytes.Equal(gotBody, wantBody) {
			t.Errorf("%q: the body is %q, %v; want %q", raw, gotBody, err, wantBody)
		}
		if (got.Body == http.NoBody) != (want.Body == http.NoBody) {
			t.Errorf("%q: the body is a %T, by net/http a %T", raw, got.Body, want.Body)
		}
		got, want = got.WithContext(t.Context()), want.WithContext(t.Context())
		got.Body = want.Body
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q\non the lane  %+v\nby net/http  %+v", raw, got, want)
		}
	})
}
