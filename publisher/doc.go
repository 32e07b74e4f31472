// Package publisher pushes messages to browsers' WebSockets from another process than the one that holds them: the publisher's
// side of package wspush. A connection is known by its address, which its client got as the greeting and sent to the backend:
//
//	http://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@10.0.0.5:48775/ws
//
// A complete program, which pushes its second argument to its first:
//
//	package main
//
//	import (
//		"context"
//		"errors"
//		"log"
//		"net/netip"
//		"os"
//
//		"github.com/wspush/wspush/publisher"
//	)
//
//	func main() {
//		client, err := publisher.New(&publisher.Options{
//			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, // where the workers are
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		defer client.Close()
//		_, err = client.Push(context.Background(), os.Args[1], publisher.Text, []byte(os.Args[2]))
//		if errors.Is(err, publisher.ErrGone) {
//			log.Print("the client has left: forget this address")
//		} else if err != nil {
//			log.Print(err)
//		}
//	}
//
// The package needs nothing but the standard library, and none of what a worker is made of.
//
// # Addresses are hostile
//
// An address comes from a browser, as a rule, and whoever sits there can send any other. So a [Client] pushes only to hosts
// that its [Options] name, and there is no default that allows any: a name or an address that is not theirs, an address whose
// form is not one of the two that workers make, or what some parsers take for a host and others do not, is [ErrAddress], and
// nothing is dialled. What is sent goes to the path .../@connections/ID and nowhere else on those hosts. No redirect is
// followed, no proxy of the environment is used, no cookie is kept, and what is read of an answer is bounded.
//
// An ID is the right to push. It is in no error of this package, whatever the server has said; an address should be in no log.
//
// An address may be a list, separated by commas: one worker, as reached in different ways. What of it is not allowed is passed
// over. The others are tried in order, the one that has worked before first, but only as long as it is certain that nothing was
// written.
//
// # Outcomes
//
//	error            what has become of the message                      what to do
//	nil              written to the client's socket; with Confirmed,
//	                 read by its WebSocket endpoint
//	ErrGone          not written: the connection has ended               forget the address
//	ErrBusy          not written: too much waits already, or for the     try again after Error.RetryAfter
//	                 timeout it could not be written
//	ErrUnavailable   not written: nobody can decide at the moment        try again after Error.RetryAfter
//	                 whether this publisher may push
//	ErrShutdown      not written: the worker is shutting down            wait for the client's next address
//	ErrUnreachable   not written: no connection to the worker            try again; see the push API for when to stop
//	ErrTooLarge,     not written
//	ErrInvalidUTF8,
//	ErrForbidden,
//	ErrAddress
//	ErrUnknown       perhaps written, or in part                         only what may arrive twice should be sent again
//	ctx's error      not sent, unless it comes with ErrUnknown
//
// Match them with [errors.Is]; they are the errors of package wspush. [Error] has more. An *Error that matches none of them is
// another refusal, after which nothing is written.
//
// Only an answer that shows itself to be a worker's is taken for one: the 404 of a proxy is not ErrGone, and after its 502 the
// message may have been written.
//
// # Streams
//
// [Client.Push] is a request for each message. A [Stream] sends many over one request for each worker, and costs a fraction of
// that once many are on their way at once:
//
//	stream := client.NewStream()
//	defer stream.Close()
//	for address, err := range stream.PushEach(ctx, addresses, publisher.Text, data) { … }
//
// A proxy between publisher and worker should pass a request on while it comes (nginx: proxy_request_buffering off). Where one
// keeps it until it is whole, a Stream notices after a second, and sends one finished request after the other.
//
// # Concurrency
//
// All methods of Client and Stream may be called from any goroutine. Messages that one goroutine pushes to a connection, one
// after the other, arrive in that order. The Client's goroutines are those of its connections and its streams: [Client.Close]
// and [Stream.Close] end them, and wait.
package publisher
