package address

import (
	"net/http/httptest"
	"strings"
	"testing"
	"unsafe"
)

func TestNormalize(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/ws": "/ws", "/%41%2d%7E": "/A-~", "/%2f%2F/x": "/%2F%2F/x", "/%c3%bc": "/%C3%BC", "/%2541": "/%2541", "/a%2Cb,c": "/a%2Cb,c", "%41": "A",
		"/%": "/%", "/%4": "/%4", "/%zz%41": "/%zzA", "/%4%41": "/%4A", "/%%41": "/%A", "/%+1": "/%+1",
	} {
		if got := normalize(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// What a client escapes costs as little as what it does not: once, when it connects, and nothing when it is pushed to.
func TestEscapesCostNothing(t *testing.T) {
	escaped := "/" + strings.Repeat("%41", MaxPath/3)
	if n := testing.AllocsPerRun(10, func() { normalize(strings.Repeat(escaped, 100)) }); n > 3 {
		t.Errorf("to normalize a path of %d KB takes %v allocations", len(escaped)/10, n)
	}
	if p := NewPath("/%2C%2F%C3%BC"); unsafe.StringData(p.text) != unsafe.StringData(p.normal) {
		t.Error("a path that is normal is kept twice")
	}
	p, plain := NewPath(escaped), NewPath("/ws")
	if n := testing.AllocsPerRun(10, func() {
		if At(plain.text).Lives(p) || plain.normal != "/ws" {
			t.Error("two paths are one")
		}
	}); n != 0 {
		t.Errorf("to compare the path of a push takes %v allocations", n)
	}
}

// The marker is the marker however it is escaped: a proxy may add or remove escapes that mean nothing (RFC 3986 section
// 6.2.2.2), and an address must mean the same before and behind it.
func TestIsMarker(t *testing.T) {
	for segment, want := range map[string]bool{
		"@connections": true, "%40connections": true, "@%63onnections": true, "%40%63%6F%6e%6eections": true,
		"%40%63%6F%6E%6E%65%63%74%69%6F%6E%73": true,
		"":                                     false, "connections": false, "@Connections": false, "@connections ": false, "%40Connections": false, "@connection%53": false,
		"%2540connections": false, "@connections%00": false, "x%2F@connections": false, "%4": false, "%zzconnections": false, "@connections%": false,
	} {
		if IsMarker(segment) != want {
			t.Errorf("IsMarker(%q) is %v", segment, !want)
		}
		if path := "/ws/" + segment + "/x"; HasMarker(path) != want {
			t.Errorf("HasMarker(%q) is %v", path, !want)
		}
	}
}

func TestIsProbe(t *testing.T) {
	for target, want := range map[string]bool{
		"/@ready": true, "/%40ready": true, "/@%72eady": true, "/push/@ready?x": true, "/ws/@connections/@ready": true, "//@ready": true,
		"/": false, "/ready": false, "/@ready/": false, "/@ready/x": false, "/x@ready": false, "/x%2F@ready": false, "/%2540ready": false, "/@Ready": false, "/@ready%00": false,
	} {
		for method, may := range map[string]bool{"GET": true, "HEAD": true, "POST": false, "DELETE": false, "OPTIONS": false} {
			r := httptest.NewRequest(method, target, nil)
			if got := IsProbe(r); got != (want && may) {
				t.Errorf("%s %s: %v", method, target, got)
			}
			if r.SetBasicAuth("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", ""); IsProbe(r) {
				t.Errorf("%s %s: an address of a client there is taken for a probe", method, target)
			}
		}
	}
}

func TestReadBulk(t *testing.T) {
	for target, want := range map[string]string{
		"/ws/@connections": "/ws", "/@connections": "/", "/a,b/@connections": "/a%2Cb", "/ws/%40connections": "/ws", "/ws/@%63onnections?x": "/ws",
		"//@connections": "/", "/a%2Fb/@connections": "/a%2Fb",
		"/ws/@connections/": "", "/ws/@connections/x": "", "/ws": "", "/ws/x@connections": "", "/ws%2F@connections": "", "/ws/%2540connections": "",
	} {
		mount, ok := ReadBulk(httptest.NewRequest("POST", target, nil))
		if ok != (want != "") || ok && mount.Path != want {
			t.Errorf("%s: %q, %v; want %q", target, mount.Path, ok, want)
		}
	}
}
