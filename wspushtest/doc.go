// Package wspushtest helps to test applications that use package wspush, as net/http/httptest does for net/http. It makes a
// worker and a client in one line each; the client receives with a deadline, and fails the test at the line whose expectation
// was not met.
//
//	func TestShipped(t *testing.T) {
//		s := wspushtest.New(t, nil)
//		c := s.Connect()
//		shop := NewShop(s.Worker)
//		shop.Shipped(c.ID, "order 7")
//		c.Expect("order 7 has shipped")
//	}
//
// Everything made for a test is shut down through the test's Cleanup, and the test fails if anything does not end.
//
// # The application's own handler
//
// [Connect] takes any [http.Handler], such as the application's whole mux with its middleware, and a [ClientOptions] with the
// client's cookies, headers and subprotocols. [NewWorker] makes the worker to build the application on; it is an ordinary
// [wspush.Worker]. [ExpectRefused] is for clients that must not get in.
//
// # Code that pushes
//
// A [FakeWorker] answers package publisher with the outcome that the test chooses, without connections or clients.
//
// # In memory, and over the network
//
// By default nothing uses the network. Clients connect through [net.Pipe], and the addresses of connections begin with
// http://worker.test, which does not resolve: they work only with the [http.Client] that [HTTPClient] makes, which leads to the
// worker in memory. Give that client to the code under test that pushes over HTTP.
//
// For addresses that any process can push to, give the worker a listener with [wspush.WorkerOptions].Listen, such as
// "127.0.0.1:0". For a client of a server that is already listening, use [Dial].
//
// # Several workers
//
// The workers of a [Cluster] find each other's users and groups through a directory in memory, which the test can stop.
//
// # Sessions
//
// With Session in its options a client speaks wspush.v1, as client/wspush.js does: where the handler has a ResumeWindow, its connection
// outlives its WebSocket. [Client.Disconnect] and [Client.Suspend] lose the network, [Client.Vanish] does without a word, and
// [Client.Reconnect] comes back with what the client has. [Client.ExpectNewSession] is for one that comes too late, and
// [Client.ExpectDismissed] for one that must not.
//
// # Fake time
//
// In memory everything works in a [testing/synctest] bubble, where an hour of pings and timeouts takes no time. Make everything
// within the bubble, with the bubble's *testing.T. Package publisher works there too, with [Dialer] in its Options.
//
// # Concurrency
//
// Functions that take a [testing.TB] may end the test, so call them from the test's own goroutine. The methods of a [Client]
// may be called from any goroutine: see there.
package wspushtest
