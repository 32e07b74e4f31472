// Package directory is what workers share so that a push to a user or a group finds the workers that have members of it: an interface,
// which an engine that is run anyway stands behind. directory/redis has it on Redis or Valkey, directory/nats on NATS; both are modules of
// their own. docs/directory.md in the repository says how to write another, and package directorytest tests it.
//
// A directory is asked one question: which workers? It maps keys, each of which stands for a user or a group, to the numbers of the leases of
// workers. It knows no connection and carries no message: these go from worker to worker.
//
// A directory may lose everything it knows, at any time. It must not hide that it has: every answer names the generation of the data it
// came from, and what has lost data is of another generation. Workers enter their keys anew then.
package directory
