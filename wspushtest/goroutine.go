package wspushtest

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutine is the number of the goroutine that calls it. It is never used again.
func goroutine() uint64 {
	digits, _, _ := bytes.Cut(bytes.TrimPrefix(goroutineHeader(), []byte("goroutine ")), []byte(" "))
	n, _ := strconv.ParseUint(string(digits), 10, 64)
	return n
}

// inBubble reports whether the goroutine that calls it is in a testing/synctest bubble. There is no other way to know. Nothing
// depends on it but that a mistake is reported at once, in place of a test that hangs.
func inBubble() bool { return bytes.Contains(goroutineHeader(), []byte("synctest bubble")) }

// goroutineHeader is how the runtime describes the goroutine that calls it: "goroutine 7 [running, synctest bubble 1]:".
func goroutineHeader() []byte {
	buf := make([]byte, 128)
	header, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte("\n"))
	return header
}
