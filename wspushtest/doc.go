// Package wspushtest is for the tests of applications that use package wspush, as net/http/httptest is for those that use
// net/http: a worker and a client in one line each, and clients that receive with a deadline and fail the test at the line that
// expected something else.
//
//	func TestShipped(t *testing.T) {
//		s := wspushtest.New(t, nil)
//		c := s.Connect()
//		shop := NewShop(s.Worker)
//		shop.Shipped(c.ID, "order 7")
//		c.Expect("order 7 has shipped")
//	}
//
// What is made for a test ends with it, through its Cleanup, and the test fails if anything does not.
//
// # The application's own handler
//
// [Connect] takes any [http.Handler], such as the application's whole mux with its middleware, and a [ClientOptions] the cookies,
// headers and subprotocols to come with. [NewWorker] makes the worker to build the application on; it is an ordinary
// [wspush.Worker]. [ExpectRefused] is for clients that are not to get in.
//
// # In memory, and over the network
//
// Unless told otherwise nothing uses the network. Clients connect through [net.Pipe], and the addresses of connections begin
// with http://worker.test, which nothing resolves: they are for the [http.Client] that [HTTPClient] makes, which leads to the
// worker in memory. Give that client to the code under test that pushes over HTTP.
//
// To have addresses that any process can push to, give the worker a listener with [wspush.WorkerOptions].Listen, such as
// "127.0.0.1:0". To have a client of a server that listens already, use [Dial].
//
// # Fake time
//
// In memory everything works in a [testing/synctest] bubble, where an hour of pings and timeouts takes no time. Make it all
// within the bubble, with the bubble's *testing.T. Package publisher works there, too, with [Dialer] in its Options.
//
// # Concurrency
//
// Functions that take a [testing.TB] may end the test, and must be called in its own goroutine. The methods of a [Client] may be
// called in any: see there.
package wspushtest
