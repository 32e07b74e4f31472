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
// An address usually comes from a browser, and anyone who controls the browser can send any other. So a [Client] pushes only to
// hosts that its [Options] allow, and by default they allow none. An address is refused with [ErrAddress], and nothing is
// dialled, if its host is not allowed, if it has neither of the two forms that workers make, or if parsers could disagree about
// its host. Nor does an address decide that a credential goes in clear: see [Options].Hosts. Requests go only to the path
// .../@connections/ID of those hosts, and to the [Options].Workers, which are settings and no address. No redirect is followed, no
// proxy from the environment is used, no cookie is kept, and what is read of an answer is bounded. The only word of a server about where to
// send is that a connection has moved: see below.
//
// An ID is the right to push. No error of this package contains one, whatever the server said; keep addresses out of logs.
//
// An address may be a list, separated by commas: one worker, as reached in different ways. Hosts that are not allowed are
// skipped. The others are tried in order, starting with the one that worked last, but only while it is certain that nothing was
// written.
//
// # Outcomes
//
//	error             what became of the message                         what to do
//	nil               written to the client's socket; with Confirmed,
//	                  read by its WebSocket endpoint; or, where the
//	                  client is away, buffered: see Receipt
//	ErrGone           not written: the connection has ended              forget the address
//	ErrSuspended      not written: the client is away, and the push       some other way; or without Keep
//	                  was not to be buffered: see Keep
//	ErrBusy           not written: too much is waiting already, or it    try again after Error.RetryAfter
//	                  could not be written before the timeout
//	ErrUnavailable    not written: the worker cannot decide at the       try again after Error.RetryAfter
//	                  moment whether this publisher may push
//	ErrShutdown       not written: the worker is shutting down           wait for the client's next address
//	ErrUnreachable    not written: no connection to the worker           try again; see the push API for when to stop
//	ErrDirectory      not written: it cannot be known who a user or a    try again
//	                  group is
//	ErrUnauthorized,  not written                                        correct the credential
//	ErrForbidden
//	ErrTooLarge,      not written
//	ErrInvalidUTF8,
//	ErrAddress
//	ErrUnknown        possibly written, or in part                       send again only what may arrive twice
//	ctx's error       not sent, unless it comes with ErrUnknown
//
// Match them with [errors.Is]; all but ErrAddress and ErrClosed are the errors of package wspush. [Error] has more. An *Error
// that matches none of them is another refusal: nothing is written.
//
// An answer may also be that of a proxy in between: [Error].Type is then "". A proxy's 410 is not ErrGone, since it knows
// nothing of connections. Its 401, 403, 413 and 429 match ErrUnauthorized, ErrForbidden, ErrTooLarge and ErrBusy: a proxy that
// refuses a request has not passed it on, so it is true that nothing was written. After a proxy's 5xx, such as 502, the message
// may have been written: ErrUnknown.
//
// # Users and groups
//
// A worker that is given by Options.Workers is asked about users and groups, and knows who they are at the time. It must have
// AuthorizePush:
//
//	client, err := publisher.New(&publisher.Options{
//		Workers:    []string{"https://push.example.com"},
//		Credential: credential,
//	})
//	…
//	outcomes, err := client.User("ann").Push(ctx, publisher.Text, data)
//	switch {
//	case errors.Is(err, publisher.ErrUnknown): // one of her connections may have it
//	case err != nil: // nobody has it, and nobody will: a fallback is safe
//	default: // outcomes.Written of her connections have it, and outcomes.Buffered get it when they are back
//	}
//
// err is nil if at least one connection has the message, or its session has. [Outcomes] counts them all, also if err is not nil, and its method Err tells of each
// that has not got it. An answer that is damaged or contradicts itself is an ErrUnknown, never a count.
//
// [Recipients] have the methods of those in package wspush, so that one interface fits both. [Client.Join] and [Client.Leave] change the
// groups of a connection. [Stream.PushTo] pushes to users and groups over a stream.
//
// # Connections that move
//
// A session may move to another worker. The answers to requests for its old address then have the new one in the header Wspush-Address, and the
// Client sends what comes next straight there. Callers can go on with the old address. If the new one fails, and nothing was written there, the old
// one is tried, within the same call, and comes first from then on. The Client remembers the 10,000 of these that were used last, and nothing of
// them when it is closed.
//
// The header is trusted no more than an address is. It leads only to hosts that Options allow, which get the same credential, never from https to
// http, and never from one ID to another; of sealed IDs, only workers could tell. A header of more than 2 KiB, or one of which any part is
// malformed, is ignored. A call that was given a sealed ID in place of an address asks the same Options.Workers about the new one.
//
// # Streams
//
// [Client.Push] sends one request for each message. A [Stream] sends many messages over one request for each worker, which costs
// a fraction once many of them are under way at a time:
//
//	stream := client.NewStream()
//	defer stream.Close()
//	for address, err := range stream.PushEach(ctx, addresses, publisher.Text, data) { … }
//
// A Stream sends to the address that it is given, also if the connection has moved: the worker there passes it on, in order.
//
// A proxy between publisher and worker should pass a request on as it comes in (nginx: proxy_request_buffering off). If one keeps
// it until it is complete, a Stream notices after a second, and sends one finished request after the other.
//
// # Metrics and traces
//
// [Options].OnPush is called with what each push has come to, over requests and streams alike: a [PushResult], whose Outcome is one word of a fixed
// set. recipes/opentelemetry in the repository makes spans and measurements of it.
//
// # Concurrency
//
// All methods of Client and Stream may be called from any goroutine. Messages that one goroutine pushes to a connection, one
// after the other, arrive in that order. The Client's goroutines are those of its connections and its streams: [Client.Close]
// and [Stream.Close] end them, and wait.
package publisher
