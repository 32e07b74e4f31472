// Package client serves wspush.js, the library with which a page connects to a [github.com/wspush/wspush.Handler], comes back after its
// WebSocket is lost, and misses nothing:
//
//	mux.Handle("/wspush.js", client.Script())
//
// A page imports it from there, and so needs neither npm nor a build:
//
//	<script type="module">
//	import { connect } from "/wspush.js";
//	const c = connect("/ws", { message(data) { … }, address(list) { … } });
//	</script>
//
// The folder is the npm package wspush as well. Its README.md says how a page uses it, and wspush.d.ts has each name.
package client

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed wspush.js
var script []byte

// Script returns a handler that serves wspush.js to GET and HEAD, at whatever path it is mounted. Browsers keep the file, and ask each
// time whether it is still the same (Cache-Control: no-cache, and an ETag that is the hash of the file), so that a page never runs an
// older one than the server has. The handler is safe for concurrent use.
func Script() http.Handler {
	hash := sha256.Sum256(script)
	tag := `"` + hex.EncodeToString(hash[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(script))
	})
}
