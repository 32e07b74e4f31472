// Package console is a live page for operators: the connections of a worker, with their ages, round trips and pending bytes,
// rates as small charts, a box to push a message to a connection, and a button to disconnect it. It is mounted as net/http/pprof
// is.
//
// # It has no authentication of its own
//
// WHOEVER REACHES THE CONSOLE SEES WHO IS CONNECTED, CAN PUSH ANYTHING TO ANYONE, AND CAN DISCONNECT EVERYONE. Mount it behind
// the application's authentication, and nowhere else:
//
//	c, err := console.New(worker, nil)
//	…
//	mux.Handle("/debug/wspush/", onlyOperators(c))
//
// It may be mounted at any path, with http.StripPrefix or without, and behind a proxy at another: its URLs are relative. It
// takes the last segment of a path: the page is whatever ends in a slash.
//
// # What it guards against
//
// An operator's browser can be misled by other pages that it visits. So a push or a disconnect that a browser sends for a page
// of another origin is refused (http.CrossOriginProtection), as is its WebSocket; on loopback, so is a Host other than localhost,
// an address of loopback, or one of Options.Hosts, which is how DNS rebinding shows; no page can frame it; and what clients and
// the application have to say (User-Agent, path, label) is shown as text. IDs never leave the process: a page gets their first
// 8 digits, and names connections to the console by handles that mean nothing elsewhere.
//
// # What it costs
//
// Nothing while nobody looks: no goroutine, and no memory but for the page itself and a few minutes of numbers. For as long as
// a page is open, the console looks at the connections every half second, or more seldom, down to every 10 s, where it would
// take more than a twentieth of one processor. A page gets what has changed among at most 200 connections: the first ones by
// its filter and its order. That is itself a push, confirmed, to a connection of a worker of the console's own, so that pages
// do not count among the application's clients; a page that does not read is skipped, and holds up nobody.
package console
