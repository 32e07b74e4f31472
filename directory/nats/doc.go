// Package wspushnats is a [directory.Directory], with [directory.Owners], in NATS with JetStream, from version 2.11 on:
//
//	import wspushnats "github.com/wspush/wspush/directory/nats"
//
//	connection, err := nats.Connect(url, nats.MaxReconnects(-1))
//	directory, err := wspushnats.New(connection, nil)
//	defer directory.Close()
//
// The connection is the application's, which closes it after the worker has shut down. Without MaxReconnects(-1), nats.go gives up after two
// minutes without a server, for good.
//
// # What is in NATS
//
// One stream, which Renew makes if it is not there, in memory, with one replica. Called "wspush", it has:
//
//	wspush.g              a random string, the generation
//	wspush.l.NUMBER       a lease; expires
//	wspush.e.KEY.NUMBER   that a lease has a key, in base64url: "+"; or that it no longer has it: "-", for a minute; expires after 24 h
//	wspush.o.ID           of a session that has moved to another worker: how often, and the owner's lease, such as "3 46116860"; expires after 24 h
//
// A stream with other settings is refused. One replica is no saving: reads of several subjects are answered by any replica, and those lag
// behind, so that who has joined would not be found. Files would not help either: they lose the latest writes in silence. What is lost
// is entered anew, within seconds, or minutes if there are millions. The server that has the stream should have about 700 bytes of memory
// for each user and for each session that has moved, and 1,300 for users who all leave at the same time.
//
// # Permissions
//
// The connection must be allowed to publish to wspush.>, $JS.API.DIRECT.GET.wspush, $JS.API.STREAM.CREATE.wspush and
// $JS.API.STREAM.INFO.wspush, and to subscribe to its inboxes.
package wspushnats
