// Package wspush pushes a message to one particular browser: one HTTP POST, and no broker in between.
//
// A server that runs as several workers (processes, pods, machines) behind one public address has a problem: a client's
// WebSocket lives in one worker, and a request to push to it arrives at another. Here every worker also listens on a port
// of its own, and each connection gets an address that names it:
//
//	http://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@10.0.0.5:48775/ws
//
// Whoever has the address reaches exactly the process that holds the connection:
//
//	curl -d 'Your order has shipped' http://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@10.0.0.5:48775/ws
//
// An application makes a [Worker], which binds that port, and mounts a [Handler] for clients to connect to. Each client that
// does is a [Conn]. A complete program:
//
//	package main
//
//	import (
//		"log"
//		"net/http"
//		"time"
//
//		"github.com/wspush/wspush"
//	)
//
//	func main() {
//		worker, err := wspush.NewWorker(nil)
//		if err != nil {
//			log.Fatal(err)
//		}
//		handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
//		if err != nil {
//			log.Fatal(err)
//		}
//		http.Handle("/ws", handler)
//		log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
//	}
//
// # Addresses
//
// The first message to each client is its greeting: its addresses, separated by commas. What the client does with them is the
// application's business; as a rule it sends them to the backend, which keeps them with the user's session. An application
// can as well keep them itself when the client connects ([HandlerOptions].OnConnect), and greet with something else, or with nothing
// ([HandlerOptions].Greeting).
//
// An address has two forms, which reach the same thing. [Conn.Addresses] has the ID of the connection as the URL's user, as
// above, and [Conn.PathAddresses] has it in the path, which every HTTP client can use:
//
//	http://10.0.0.5:48775/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed
//
// It is good for as long as the connection lasts. A client that connects again gets another.
//
// # Pushing
//
// By HTTP, a POST to an address pushes its body, GET tells what is known of the connection, and DELETE closes it. A push whose
// body is text goes out as a text message; with a content type such as image/png it is a binary one. docs/push-api.md in the
// repository is the whole contract. Go services use package [github.com/wspush/wspush/publisher].
//
// In the same process, [Worker.Push] takes an ID, [Conn.Push] needs none, and [Worker.PushEach] pushes to many at a time. They
// take the same path as a push by HTTP, without the HTTP.
//
// Many messages cost least in one request: a POST to MOUNT/@connections with the type application/x-ndjson holds a push in
// each line, and is answered by a line for each while it is being sent:
//
//	{"to":"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed","text":"Your order has shipped"}
//
// # Outcomes
//
// A push has one of these outcomes, and the publisher always learns which:
//
//   - Written: nil, or 204. Every byte of the message has been written to the client's socket, and not a moment before.
//   - Not written: [ErrGone] (410), [ErrBusy] (429), [ErrTooLarge] (413), [ErrInvalidUTF8] (400), [ErrShutdown] (503),
//     [ErrUnreachable] (502), [ErrInvalidID] (400), or the context's error. Not one byte has been written, and none will be: it is safe to send the
//     message elsewhere.
//   - Unknown: [ErrUnknown], or 504. Some of it may have been written when the connection ended, or the wait did.
//   - Received: nil from a push with [Confirmed], or 204 for a POST with ?confirm=received. The client's WebSocket endpoint has
//     read it, which it proves by answering a ping that goes out after the message; its application need not have.
//
// Written means that the kernel has it, not that the client has read it: nobody knows more without an answer from the client.
// That answer takes no code there: every WebSocket client answers pings. But a proxy that terminates the WebSocket, rather
// than passing it through, answers in its client's stead.
//
// # Through any worker
//
// Workers that share keys ([WorkerOptions].Cluster) can each be pushed through: a sealed ID ([Conn.SealedID]) names a connection to all
// of them, and the one that gets a push for it sends it on, once, to the one that holds the connection. With
// [WorkerOptions].PublicURL, greetings name one public address with such a sealed ID in it, and nothing of the workers' own.
//
// # Silence
//
// Proxies and load balancers drop connections that are silent for long, many after 60 s, and browsers cannot ping. So the
// server does: [HandlerOptions].PingInterval says after how much silence, and [HandlerOptions].IdleTimeout when a client that does not answer
// is given up. The defaults, 5 and 6 minutes, are for clients that connect directly.
//
// # Concurrency
//
// All methods of Worker, Handler and Conn may be called from any goroutine. The messages of one connection are written in
// the order in which Push was called, whole, one at a time. A context bounds only the wait of its caller, and never harms
// the connection. A client that does not read holds up nobody but those who push to it.
//
// The callbacks of one connection ([HandlerOptions].Greeting, OnConnect, OnMessage, OnDisconnect) run on a goroutine of its own,
// though not always the same, one after the other, with no lock held. They may call anything but [Worker.Shutdown]. While
// one runs, its connection is not read. Accept runs in ServeHTTP; AuthorizePush in the goroutine of each push request.
//
// # Lifecycle
//
// A Worker runs from [NewWorker] to [Worker.Shutdown]. A connection runs from its handshake until the client leaves or is
// lost, [Conn.Close] or a DELETE closes it, a timer ends it ([HandlerOptions].PingInterval, IdleTimeout,
// [WorkerOptions].WriteTimeout), or Shutdown does. It ends once, for one reason, a [*CloseError], which OnDisconnect gets.
// Once a connection is closing, it is released in bounded time whatever its peer does.
//
// When the process is to stop, call Worker.Shutdown first and then http.Server.Shutdown, which knows nothing of connections
// that have become WebSockets:
//
//	worker.Shutdown(ctx) // closes clients with 1012, over DrainOver, then the push listener
//	server.Shutdown(ctx)
//
// # Security
//
// The ID in an address is a random version 4 UUID with 122 bits that nobody can guess, and it is the right to push. Treat
// an address like a session cookie. Logs and errors hold only the first 8 digits of an ID.
//
// The push listener is on loopback unless told otherwise. When it is opened to a network, everyone there who learns an ID
// can push, look at the connection and close it; [WorkerOptions].AuthorizePush asks for more than the ID, such as
// [BearerTokens], and TLS keeps it from being read on the way. A port can come to belong to another process: a push to the
// address of a worker that has ended may reach whoever listens there now. Another worker answers 410; anything else sees
// the message. With TLS, the publisher finds out first.
//
// A page of another origin can neither connect ([HandlerOptions].OriginPatterns) nor push ([WorkerOptions].PushOrigins), pushes
// are not served at the mount, and every size and every wait has a limit. An address that comes from a client is not to be
// trusted: a backend that posts to whatever URL a browser sends it can be made to post anywhere. Compare its host with
// those of the workers first, as package publisher does. In-process, Push takes an ID, or a sealed ID; only what a key of
// [WorkerOptions].Cluster has sealed is dialled, so whoever has such a key can have workers dial any host.
//
// # Testing and observing
//
// Package [github.com/wspush/wspush/wspushtest] is for applications' own tests, as net/http/httptest is. [Worker.Stats] counts
// what a worker does; the module [github.com/wspush/wspush/prometheus] makes metrics of that, and package
// [github.com/wspush/wspush/console] is a page to look at it.
package wspush
