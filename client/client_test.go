package client_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wspush/wspush/client"
)

func get(t *testing.T, method string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "/any/path.js", nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	client.Script().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestScript(t *testing.T) {
	js := file(t, "wspush.js")
	for _, method := range []string{"GET", "HEAD"} {
		r := get(t, method, nil)
		want := map[string]string{"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
		for name, value := range want {
			if got := r.Header.Get(name); got != value {
				t.Errorf("%s: %s is %q", method, name, got)
			}
		}
		if r.StatusCode != 200 || r.ContentLength != int64(len(js)) {
			t.Errorf("%s: %s, Content-Length %d", method, r.Status, r.ContentLength)
		}
		if got := body(t, r); got != js && (method != "HEAD" || got != "") {
			t.Errorf("%s: a body of %d bytes", method, len(got))
		}
	}
}

func TestScriptNotModified(t *testing.T) {
	tag := get(t, "GET", nil).Header.Get("ETag")
	if !regexp.MustCompile(`^"[0-9a-f]{32}"$`).MatchString(tag) {
		t.Fatalf("the ETag is %s", tag)
	}
	for match, status := range map[string]int{tag: 304, "W/" + tag: 304, `"x", ` + tag: 304, "*": 304, `"x"`: 200, "": 200} {
		header := http.Header{"If-None-Match": {match}}
		for _, method := range []string{"GET", "HEAD"} {
			r := get(t, method, header)
			if r.StatusCode != status || r.Header.Get("ETag") != tag || r.Header.Get("Cache-Control") != "no-cache" {
				t.Errorf("%s, If-None-Match %s: %s %v", method, match, r.Status, r.Header)
			}
			if got := body(t, r); status == 304 && got != "" {
				t.Errorf("%s, If-None-Match %s: a body of %d bytes", method, match, len(got))
			}
		}
	}
}

func TestScriptMethods(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		r := get(t, method, nil)
		if r.StatusCode != 405 || r.Header.Get("Allow") != "GET, HEAD" || r.Header.Get("Cache-Control") != "" {
			t.Errorf("%s: %s %v", method, r.Status, r.Header)
		}
	}
}

// A page pays for every byte, comments included: they belong in wspush.d.ts.
func TestSize(t *testing.T) {
	const limit = 3000
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(file(t, "wspush.js"))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("wspush.js is %d bytes gzipped", b.Len())
	if b.Len() > limit {
		t.Errorf("wspush.js is %d bytes gzipped: more than %d", b.Len(), limit)
	}
}

// The npm package has what it names and nothing else, runs nothing when it is installed, and depends on nothing.
func TestNpm(t *testing.T) {
	var manifest map[string]any
	if err := json.Unmarshal([]byte(file(t, "package.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"scripts", "dependencies", "peerDependencies", "optionalDependencies", "bin", "private"} {
		if value, ok := manifest[name]; ok {
			t.Errorf("package.json has %s: %v", name, value)
		}
	}
	for name, value := range map[string]any{"name": "wspush", "type": "module", "types": "./wspush.d.ts", "sideEffects": false, "license": "MIT"} {
		if manifest[name] != value {
			t.Errorf("package.json: %s is %v", name, manifest[name])
		}
	}
	files, ok := manifest["files"].([]any)
	if !ok || !slices.Equal(files, []any{"wspush.js", "wspush.d.ts"}) {
		t.Errorf("package.json: files is %v", manifest["files"]) // npm adds package.json, README.md and LICENSE by itself
	}
	if license := file(t, "LICENSE"); license != file(t, "../LICENSE") {
		t.Error("LICENSE differs from the project's")
	}
}

// Each option that the script reads is in wspush.d.ts, and so is each name that connect returns.
func TestTypes(t *testing.T) {
	js, types := file(t, "wspush.js"), file(t, "wspush.d.ts")
	names := map[string]bool{}
	for _, match := range regexp.MustCompile(`options\.(\w+)|(?:call|tell)\("(\w+)"`).FindAllStringSubmatch(js, -1) {
		names[match[1]+match[2]] = true
	}
	_, returned, _ := strings.Cut(js, "\n  return {\n")
	for _, match := range regexp.MustCompile(`(?m)^    (?:get )?(\w+)\(`).FindAllStringSubmatch(returned, -1) {
		names[match[1]] = true
	}
	for _, name := range []string{"message", "address", "suspended", "resumed", "lost", "end", "protocols", "persist", "state", "protocol", "send", "close"} {
		if !names[name] {
			t.Errorf("wspush.js does not have %s, or this test does not find it", name)
		}
		delete(names, name)
		if !regexp.MustCompile(`(?m)^  (readonly )?` + name + `\??[:(]`).MatchString(types) {
			t.Errorf("wspush.d.ts does not have %s", name)
		}
	}
	for name := range names {
		t.Errorf("wspush.js has %s, of which this test does not know", name)
	}
}
