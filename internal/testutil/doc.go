// Package testutil supports the tests of wspush: a raw RFC 6455 client ([Dial], [Handshake]), real servers to point it at
// ([Serve], [ServeTLS], [Pipe]), leak checks ([Main], [NoLeak], [OpenFiles]) and a way to wait without sleeping ([Eventually]).
//
// It knows only [http.Handler] and [net.Conn]. It imports neither wspush nor the WebSocket library beneath, so the tests do not
// judge the library by the library that it is built on.
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
// Functions that return no error end the test with [testing.TB.Fatal], which must be called from the test's own goroutine.
// Elsewhere use the ones that return an error: [TryDial], [TryHandshake], [Client.ReadFrame], [Client.Message],
// [Client.WriteFrame].
//
// # Fake time
//
// Everything except Dial, TryDial, Serve and ServeTLS works in a testing/synctest bubble: connect with [Pipe], set
// [Options.Timeout] to a negative value (fake time runs past any deadline), and pass the bubble's own *testing.T, so that the
// clean-up runs inside.
package testutil
