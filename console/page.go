package console

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"

	"github.com/wspush/wspush/client"
)

//go:embed page.html
var pageHTML []byte

// page is the only file that browsers get.
type page struct {
	html   []byte
	policy string
}

// importLine is where page.html names wspush.js.
const importLine = "import { connect } from 'wspush.js';\n"

// newPage puts wspush.js into the page's script, and makes a policy that allows that one script and one style, by their hashes, and nothing
// else. If wspush.js were a file of its own, the policy would have to allow every script of the site.
func newPage() *page {
	html := bytes.Replace(pageHTML, []byte(importLine), clientScript(), 1)
	return &page{html: html, policy: "default-src 'none'; connect-src 'self'; img-src data:" +
		"; script-src " + hashOf(html, "script") + "; style-src " + hashOf(html, "style") +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"}
}

// clientScript returns what client.Script serves.
func clientScript() []byte {
	w := body{header: make(http.Header)}
	client.Script().ServeHTTP(&w, &http.Request{Method: http.MethodGet})
	return w.Bytes()
}

// body is an http.ResponseWriter that keeps the body.
type body struct {
	bytes.Buffer
	header http.Header
}

func (b *body) Header() http.Header { return b.header }
func (b *body) WriteHeader(int)     {}

// hashOf is the Content-Security-Policy hash of the page's only element of that name.
func hashOf(html []byte, element string) string {
	_, rest, _ := bytes.Cut(html, []byte("<"+element))
	_, rest, _ = bytes.Cut(rest, []byte(">"))
	content, _, _ := bytes.Cut(rest, []byte("</"+element+">"))
	hash := sha256.Sum256(content)
	return "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
}

func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.policy)
	_, _ = w.Write(p.html)
}

// setHeader sets the headers that every answer has.
func setHeader(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}
