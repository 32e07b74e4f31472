// Package testutil is what the tests of wspush stand on: a raw RFC 6455 client ([Dial], [Handshake]), real
// servers to point it at ([Serve], [ServeTLS], [Pipe]), leak checks ([Main], [NoLeak], [OpenFiles]) and a way
// to wait without sleeping ([Eventually]).
//
// It knows [http.Handler] and [net.Conn] and nothing else. It imports neither wspush nor the WebSocket library
// under it, so that the tests do not judge the library by the library it is built on.
//
//	url := testutil.Serve(t, handler)
//	c := testutil.Dial(t, url, testutil.Options{})
//	c.Send(testutil.Text, []byte("hello"))
//	c.Expect(testutil.Text, "hello")
//	c.SendClose(1000, "bye")
//	c.AwaitClose()
//	c.AwaitEOF()
//
// # Goroutines
//
// Whatever has no error to return ends the test with [testing.TB.Fatal], which must be called in the test's own
// goroutine. Elsewhere use what returns an error: [TryDial], [TryHandshake], [Client.ReadFrame],
// [Client.Message], [Client.WriteFrame].
//
// # Fake time
//
// Everything but Dial, TryDial, Serve and ServeTLS works in a testing/synctest bubble: connect with [Pipe], set
// [Options.Timeout] to a negative value (fake time runs past any deadline), and pass the bubble's own
// *testing.T, so that the clean-up runs inside.
package testutil
