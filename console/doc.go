// Package console is a live page for operators. It shows a worker's connections with their ages, round trips and pending bytes,
// and its rates as small charts, and who is there of a user or in a group; it has a box to push a message to a connection, or to
// all of a user's or a group's, and a button to disconnect it or them. Mount it as you would net/http/pprof.
//
// # It has no authentication of its own
//
// ANYONE WHO REACHES THE CONSOLE SEES WHO IS CONNECTED, CAN PUSH ANYTHING TO ANYONE, AND CAN DISCONNECT EVERYONE. Mount it
// behind the application's authentication, and nowhere else:
//
//	c, err := console.New(worker, nil)
//	…
//	mux.Handle("/debug/wspush/", onlyOperators(c))
//
// It works at any path, with or without http.StripPrefix, and behind a proxy at another path: its URLs are relative. It looks
// only at the last segment of a path: any path that ends in a slash is the page.
//
// # What it guards against
//
// Other sites that an operator visits could misuse the operator's browser. Therefore:
//
//   - A push, a disconnect, a look-up or a WebSocket from a page of another origin is refused, by Sec-Fetch-Site, or by Origin and Host.
//   - On loopback, a Host other than localhost, a loopback address or one of Options.Hosts is refused, which stops DNS rebinding.
//   - No page can frame the console.
//   - Text from clients and from the application (User-Agent, path, label, names) is shown as text, never as markup.
//   - IDs never leave the process. A page gets their first 8 digits, and refers to connections by handles that mean nothing
//     elsewhere.
//
// # What it costs
//
// Nothing while no page is open: no goroutine, and no memory except for the page itself and a few minutes of numbers. While a
// page is open, the console looks at the connections every half second, or less often (down to every 10 s) where that would
// take more than a twentieth of one processor. A page receives what has changed among at most 200 connections, the first ones
// by its filter and order. Each update is itself a confirmed push, to a connection of a worker of the console's own, so pages
// do not count among the application's clients. A page that reads slowly skips updates and never blocks others.
package console
