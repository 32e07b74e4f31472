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

// What an address lacks is as in that of the worker that reads it.
func TestParseLike(t *testing.T) {
	for _, tt := range []struct{ own, s, want string }{
		{"http://10.0.0.5:8080", "10.0.0.6", "http://10.0.0.6:8080"},
		{"http://10.0.0.5:8080", "10.0.0.6:9090", "http://10.0.0.6:9090"},
		{"http://10.0.0.5:8080", "fd00::1", "http://[fd00::1]:8080"},
		{"http://[fd00::2]:8080", "fd00::1", "http://[fd00::1]:8080"},
		{"https://a.example/push", "b.example", "https://b.example/push"},
		{"https://a.example:8443/push", "b.example", "https://b.example:8443/push"},
		{"https://a.example/push", "http://b.example:1", "http://b.example:1"},
		{"http://a.example", "b.example", "http://b.example"},
		{"http://a.example", "", ""},
		{"http://a.example", "b.example/x", ""},
	} {
		own, err := Parse(tt.own, "", "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := own.ParseLike(tt.s)
		if (err != nil) != (tt.want == "") || err == nil && got.String() != tt.want {
			t.Errorf("%s like %s: %s, %v, want %s", tt.s, tt.own, got, err, tt.want)
		}
	}
}
