package console

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
)

//go:embed page.html
var pageHTML []byte

// page is the only file that browsers get.
type page struct {
	html   []byte
	policy string
}

// newPage makes a policy that allows the page's one script and one style, by their hashes, and nothing else.
func newPage() *page {
	return &page{html: pageHTML, policy: "default-src 'none'; connect-src 'self'; img-src data:" +
		"; script-src " + hashOf(pageHTML, "script") + "; style-src " + hashOf(pageHTML, "style") +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"}
}

// hashOf is the Content-Security-Policy hash of the page's only element of that name.
func hashOf(html []byte, element string) string {
	_, rest, _ := bytes.Cut(html, []byte("<"+element+">"))
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
