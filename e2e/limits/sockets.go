//go:build linux

package main

import (
	"errors"
	"net"
	"os/exec"
	"regexp"
	"strconv"
)

// socketMemory returns what the kernel has for the sockets of these addresses, in bytes: what has been received and not been read,
// what has been written and not been taken, and what it has set aside for both. It has ss of iproute2 find that out.
func socketMemory(addresses ...string) (int64, error) {
	var filter []string
	for _, a := range addresses {
		_, port, err := net.SplitHostPort(a)
		if err != nil {
			return 0, err
		}
		if len(filter) > 0 {
			filter = append(filter, "or")
		}
		filter = append(filter, "sport = :"+port)
	}
	said, err := exec.Command("ss", append([]string{"--tcp", "--numeric", "--memory", "--no-header"}, filter...)...).Output()
	if err != nil {
		return 0, errors.New("ss: " + err.Error())
	}
	return sumOfMemory(said), nil
}

// skmem is what ss --memory says of a socket. See ss(8).
var skmem = regexp.MustCompile(`skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+),`)

func sumOfMemory(said []byte) (sum int64) {
	for _, socket := range skmem.FindAllSubmatch(said, -1) {
		for _, figure := range socket[1:] {
			n, _ := strconv.ParseInt(string(figure), 10, 64)
			sum += n
		}
	}
	return sum
}
