package wspushtest

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutine returns the number of the calling goroutine. The runtime never reuses one.
func goroutine() uint64 {
	digits, _, _ := bytes.Cut(bytes.TrimPrefix(goroutineHeader(), []byte("goroutine ")), []byte(" "))
	n, _ := strconv.ParseUint(string(digits), 10, 64)
	return n
}

// inBubble reports whether the calling goroutine is in a testing/synctest bubble. There is no other way to find out. It serves
// only to report a mistake at once instead of letting the test hang.
func inBubble() bool { return bytes.Contains(goroutineHeader(), []byte("synctest bubble")) }

// goroutineHeader returns the runtime's description of the calling goroutine: "goroutine 7 [running, synctest bubble 1]:".
func goroutineHeader() []byte {
	buf := make([]byte, 128)
	header, _, _ := bytes.Cut(buf[:runtime.Stack(buf, false)], []byte("\n"))
	return header
}
