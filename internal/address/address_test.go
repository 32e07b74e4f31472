package address

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
)

// A host with bridges may have more addresses than fit into one greeting.
func TestBasesCapped(t *testing.T) {
	var advertise []string
	for i := range MaxAlternatives + 1 {
		advertise = append(advertise, fmt.Sprintf("10.0.0.%d", i+1))
	}
	if _, _, err := Bases(advertise, "tcp", nil, false); err == nil {
		t.Error("too many elements are accepted")
	}
	var hosts []netip.Addr
	for _, s := range advertise {
		hosts = append(hosts, netip.MustParseAddr(s))
	}
	bases, leftOut := capped(basesOf(hosts, "http://", "9090"))
	if len(bases) != MaxAlternatives || bases[0].String() != "http://10.0.0.1:9090" || len(leftOut) != 1 || leftOut[0].String() != "http://10.0.0.17:9090" {
		t.Errorf("%v, %v", bases, leftOut)
	}
	bases, leftOut, err := Bases(nil, "tcp", &net.TCPAddr{IP: net.IPv4(10, 0, 0, 5), Port: 9090}, true)
	if err != nil || fmt.Sprint(bases, leftOut) != "[https://10.0.0.5:9090] []" {
		t.Errorf("%v, %v, %v", bases, leftOut, err)
	}
}

func TestIsLoopback(t *testing.T) {
	for rest, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9": true, "[::1]:1/x": true, "localhost": true, "a.localhost:80": true,
		"10.0.0.5": false, "localhost.example": false, "[fd00::5]": false, "a/localhost": false,
	} {
		if (Base{"http://", rest}).IsLoopback() != want {
			t.Errorf("%s: %v", rest, !want)
		}
	}
}
