//go:build linux

package main

import "testing"

// What the kernel has of sockets is summed up: received, set aside and written, but not its bounds.
func TestSumOfMemory(t *testing.T) {
	const said = `ESTAB 0 0 127.0.0.1:80 127.0.0.1:5
	 skmem:(r1,rb131072,t7,tb87040,f20,w300,o9,bl0,d0)
ESTAB 0 2565 127.0.0.1:80 127.0.0.1:6 skmem:(r0,rb131072,t0,tb2626560,f4000,w50000,o0,bl0,d2)
`
	if sum := sumOfMemory([]byte(said)); sum != 54321 {
		t.Errorf("the sum is %d", sum)
	}
}
