// Package directorytest is the suite that every implementation of [directory.Directory] passes, against the real engine, which
// the tests start, kill and start again:
//
//	func TestDirectory(t *testing.T) {
//		directorytest.Run(t, func(tb testing.TB) *directorytest.Engine { … })
//	}
//
// It takes about 30 seconds; a lease takes 15 to lapse. docs/directory.md in the repository says how to
// write an implementation.
package directorytest
