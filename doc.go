// Package wspush pushes a message to one particular browser: one HTTP POST, and no broker in between.
//
// A server that runs as several workers (processes, pods, machines) behind one public address has a problem: a client's
// WebSocket lives in one worker, but a request to push to it arrives at another. With wspush, every worker also listens on a
// port of its own, and every connection has an address that leads there:
//
//	http://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@10.0.0.5:48775/ws
//
// Anyone with the address reaches the right process directly:
//
//	curl -d 'Your order has shipped' http://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@10.0.0.5:48775/ws
//
// An application creates a [Worker], which binds that port, and mounts a [Handler], to which clients connect. Each connection is
// a [Conn]. A complete program:
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
//		// These two bound what somebody costs who has only begun to connect.
//		server := &http.Server{Addr: "127.0.0.1:8000", ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
//		log.Printf("Serving http://%s/", server.Addr)
//		log.Fatal(server.ListenAndServe())
//	}
//
// # Addresses
//
// The first message to each client is its greeting: its addresses, separated by commas. What the client does with them is up to
// the application; usually it sends them to the backend, which keeps them with the user's session. An application can also keep
// them itself, and send another greeting, or none ([HandlerOptions].Greeting).
//
// An address has two forms, which are equivalent. [Conn.Addresses] has the ID of the connection as the user of the URL, as above,
// and [Conn.PathAddresses] has it in the path, which every HTTP client can use:
//
//	http://10.0.0.5:48775/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed
//
// An address is valid for as long as its connection lasts, and its worker. A client that reconnects gets another one, unless it has a
// session (see below). An application that pushes to users and groups need not keep addresses.
//
// # Pushing
//
// By HTTP, a POST to an address pushes its body, GET returns what is known about the connection, and DELETE closes it. A text body
// becomes a text message; with a content type such as image/png the message is a binary one. docs/push-api.md in the repository
// is the complete contract. Go services use package [github.com/wspush/wspush/publisher].
//
// In the same process, [Worker.Push] takes an ID, [Conn.Push] needs none, and [Worker.PushEach] pushes to many connections at a
// time. [Conn.Send] does not wait: its outcome goes to a function. They take the same path as a push by HTTP, without the HTTP.
// [Worker.Disconnect] and [Conn.Close] close a connection.
//
// To push many messages, put them into one request: a POST to MOUNT/@connections with the type application/x-ndjson has one push
// in each line, and is answered line by line while it is still being sent:
//
//	{"to":"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed","text":"Your order has shipped"}
//
// # Users and groups
//
// A connection is a user's ([HandlerOptions].User), and is in groups ([HandlerOptions].Groups, [Conn.Join], [Conn.Leave]). [Worker.User]
// and [Worker.Group] push to all of their connections, say who is there, and close them:
//
//	outcomes, err := worker.User("42").Push(ctx, wspush.Text, data)
//
// By HTTP they are at /@users/NAME and /@groups/NAME, but only where AuthorizePush says who may push to whom, since a name can be
// guessed.
//
// In one process that needs nothing else. Several workers need a [Cluster] with a Directory, in an engine such as Redis or NATS, or with
// Peers, a list of all workers; with neither, each worker knows its own connections only. The directory says which workers to ask.
// Messages do not pass through it. While it is down, what is done with users and groups fails with [ErrDirectory] (503) and
// nothing is written; clients still connect, and pushes to a connection still work. docs/users-and-groups.md in the repository says
// how to choose.
//
// # Sessions
//
// With [HandlerOptions].ResumeWindow, a connection outlives its WebSocket if its client offers the subprotocol wspush.v1: a page with
// wspush.js, which package [github.com/wspush/wspush/client] serves, or any program with a counter. While the client is away, the connection
// keeps its ID and addresses, its user and groups. What is pushed to it meanwhile is buffered, and the client gets it exactly once and in order
// when it is back. Accept and User are asked each time. [HandlerOptions].OnSuspend and OnResume tell of it. If the client does not come
// back, OnDisconnect finds what it is not known to have received in [Conn.Unconfirmed].
//
// All of that is in the memory of one worker at a time. Where workers share a [Cluster], the one to which a client comes back takes its session over,
// wherever it is: the connection ends with [CauseMoved] at the former worker, and goes on at the new one, where OnResume is the first that is
// heard of it ([Conn.Resumed]). So Shutdown loses nothing: clients, or Shutdown itself, bring their sessions to other workers. A worker that is alone
// leaves them to the one that is started next: [WorkerOptions].SessionFile. docs/sessions.md in the repository says what is promised, and under
// which condition. For clients that do not offer the subprotocol nothing changes.
//
// # Outcomes
//
// Every push to a connection gets a definite outcome, one of these. A push to a user or a group gets one for each of its connections, which
// [Outcomes] counts.
//
//   - Written: a [Receipt] with the State [Written], or 204. Every byte of the message is written to the client's socket.
//   - Received: a Receipt with the State [Received] from a push with [Confirmed], or 204 for a POST with ?confirm=received. The
//     client's WebSocket endpoint has read the message, which it proves by answering a ping that follows the message.
//   - Buffered: a Receipt with the State [Buffered], or 202. The client of a session is away; the session has the message, and sends it first
//     thing when the client is back. [Keep] asks for [ErrSuspended] (409) instead: nothing is written.
//   - Not written: [ErrGone] (410), [ErrBusy] (429), [ErrTooLarge] (413), [ErrInvalidUTF8] (400), [ErrInvalidID] (400),
//     [ErrShutdown] (503), [ErrUnreachable] (502), [ErrForbidden] (403), or the context's error. Not one byte is written, and
//     none will be: it is safe to send the message some other way.
//   - Unknown: [ErrUnknown], or 504. Part of the message may have been written when the connection, or the wait, ended.
//
// Written means that the kernel has the message, not that the client has read it. Received takes no code in the client, since
// every WebSocket client answers pings; it does not mean that the client's application has handled the message. A proxy that
// terminates the WebSocket, rather than passing it through, answers in place of its client.
//
// # Through any worker
//
// Workers that share keys ([WorkerOptions].Cluster) can all be pushed through: a sealed ID ([Conn.SealedID]) names a connection to
// every one of them, and the worker that gets a push for it forwards the push, once, to the worker that holds the connection.
// With [WorkerOptions].PublicURL, greetings consist of one sealed address ([Conn.SealedAddress]), and reveal no address of a
// worker.
//
// # Silence
//
// Proxies and load balancers drop connections that are silent for long, many after 60 s, and browsers cannot send pings. So the
// server does: [HandlerOptions].PingInterval is the silence after which it sends one, and [HandlerOptions].IdleTimeout the
// silence after which it gives up a client that does not answer. The defaults, 5 and 6 minutes, are for clients that connect
// directly.
//
// # Concurrency
//
// All methods of Worker, Handler and Conn may be called from any goroutine. The messages of one connection are written in the
// order in which Push and Send were called, whole, one at a time. A context bounds only the wait of its caller, and never harms the
// connection. A slow client never blocks others, only those who push to it.
//
// The callbacks of one connection ([HandlerOptions].Groups, Greeting, OnConnect, OnMessage, OnSuspend, OnResume, OnDisconnect) run on a goroutine of its own,
// not always the same one, one after the other, with no lock held. They may call anything except [Worker.Shutdown]. While one
// runs, its connection is not read, so it must not wait for a confirmation of its own connection; and while it waits for a client that
// does not read, its own waits as well: [Conn.Send] does not. The functions that Send is given run beside them, one at a time, and
// have all returned before OnDisconnect is called. Accept, Expires and User run in ServeHTTP, and
// AuthorizePush on the goroutine of each push request.
//
// # Lifecycle
//
// A Worker runs from [NewWorker] to [Worker.Shutdown]. A connection runs from its handshake until the client leaves or is lost,
// [Conn.Close], [Worker.Disconnect] or a DELETE closes it, a timer ends it ([HandlerOptions].PingInterval, IdleTimeout, MaxAge,
// Expires, [WorkerOptions].WriteTimeout), or Shutdown does. It ends once, for one reason, a [*CloseError], which OnDisconnect gets.
// Closing a connection takes a bounded time, whatever its client does.
//
// To stop the process, call Worker.Shutdown first, and then http.Server.Shutdown, which knows nothing of connections that have
// become WebSockets:
//
//	worker.Shutdown(ctx) // closes clients with 1012, over DrainOver, then the push listener
//	server.Shutdown(ctx)
//
// # Security
//
// The ID in an address is a random version 4 UUID with 122 bits that nobody can guess, and it is the right to push. Treat an
// address like a session cookie. Logs and errors contain at most the first 8 digits of an ID.
//
// The push listener is on loopback unless told otherwise. Once it is open to a network, everyone there who learns an ID can push
// to the connection, look at it and close it. [WorkerOptions].AuthorizePush demands more than the ID, such as [BearerTokens], and
// TLS keeps the ID from being read on the way. A port may pass to another process: a push to the address of a worker that has
// ended may reach whatever listens there now. Another worker answers 410, but anything else sees the message. With TLS, the
// publisher finds out before it sends anything.
//
// A page of another origin can neither connect ([HandlerOptions].OriginPatterns) nor push ([WorkerOptions].PushOrigins), pushes
// are not served at the mount, and every size and every wait has a limit, if the application's server has ReadHeaderTimeout and
// MaxHeaderBytes set. Never trust an address that comes from a client: a
// backend that posts to any URL a browser sends can be made to post anywhere. Compare its host with those of the workers first,
// as package publisher does. In-process, Push takes an ID or a sealed ID. A worker dials only what a key of [WorkerOptions].Cluster
// has sealed, and what [Cluster].Peers returns; anyone with such a key can make workers dial any host.
//
// # Testing and observing
//
// Package [github.com/wspush/wspush/wspushtest] is for applications' own tests, as net/http/httptest is. [Worker.Stats] counts
// what a worker does (package [github.com/wspush/wspush/stats]); the module [github.com/wspush/wspush/prometheus] turns that into
// metrics, and package [github.com/wspush/wspush/console] into a page for operators.
package wspush
