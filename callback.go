package wspush

import (
	"bytes"
	"math"
	"runtime"
	"strconv"
)

// Which goroutine runs a callback has to be known for one question: whether PushConfirmed is called by the goroutine that
// would have to read the answer. The runtime tells a goroutine its number at the price of some microseconds, so callbacks
// pay it only in a process that asks.

// somebody is the goroutine of a callback that began before anyone wanted to know which it is.
const somebody = math.MaxUint64

// self is the goroutine that calls it, which is the connection's own.
func (l *life) self() uint64 {
	if !l.shared.confirms.Load() {
		return somebody
	}
	if l.goroutine == 0 {
		l.goroutine = goroutine()
	}
	return l.goroutine
}

// inCallback reports whether it is called in a callback of this connection. Where that began before anyone wanted to know
// whose goroutine it is, it is taken to be so by whoever is in a callback that is not known to be another's.
func (c *Conn) inCallback() bool {
	switch calling := c.calling.Load(); calling {
	case 0:
		return false
	case somebody:
		return isLife() && !c.shared.isCalling(goroutine())
	default:
		return calling == goroutine()
	}
}

// isCalling reports whether a goroutine is known to run a callback of some connection.
func (sh *shared) isCalling(goroutine uint64) bool {
	for c := range sh.registry.all() {
		if c.calling.Load() == goroutine {
			return true
		}
	}
	return false
}

// goroutine is the number of the goroutine that calls it. It is never used again.
func goroutine() uint64 {
	var buf [64]byte
	digits, _, _ := bytes.Cut(bytes.TrimPrefix(buf[:runtime.Stack(buf[:], false)], []byte("goroutine ")), []byte(" "))
	n, _ := strconv.ParseUint(string(digits), 10, 64)
	return n
}

// lifeCall is what the runtime calls the method that runs callbacks.
const lifeCall = "github.com/wspush/wspush.(*life).call"

// isLife reports whether the goroutine that calls it is the own one of some connection.
func isLife() bool {
	callers := make([]uintptr, 64)
	for skip := 1; ; skip += len(callers) {
		n := runtime.Callers(skip, callers)
		frames := runtime.CallersFrames(callers[:n])
		for more := n > 0; more; {
			var frame runtime.Frame
			frame, more = frames.Next()
			if frame.Function == lifeCall {
				return true
			}
		}
		if n < len(callers) {
			return false
		}
	}
}
