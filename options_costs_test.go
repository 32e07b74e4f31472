package wspush_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// limits are the options on which it depends what others can cost, apart from those that always have their default here.
type limits struct{ conns, pushConns, sendBuffer int64 }

// exampleConns is the MaxConns with which docs/deploying.md adds it up.
const exampleConns = 1000

// cost is a row of the table in docs/deploying.md that says what others can cost.
type cost struct {
	who, what string
	each      int64 // bytes
	count     int64
}

// costs are these rows, by the options.
func costs(t *testing.T, l limits) []cost {
	worker, handler := defaultsOf(t, wspush.WorkerOptions{}), defaultsOf(t, wspush.HandlerOptions{})
	const (
		public    = "a stranger at the public port"
		push      = "a stranger at the push port"
		publisher = "a publisher with a credential"
		socket    = 4<<10 + 128<<10 // in the kernel: itself, and what has come and has not been read, the second number of net.ipv4.tcp_rmem
	)
	return []cost{
		{public, "a client", clientCost, l.conns},
		{public, "a message of its that has not ended", 2*handler("ReadLimit") + 128<<10, l.conns},
		{public, "in the kernel, for what it sends", socket, l.conns},
		{push, "a connection", pushConnCost, l.pushConns},
		{push, "in the kernel, for what it sends", socket, l.pushConns},
		{push, "in the kernel, for answers that it does not read", 2 * answerBuffer, l.pushConns},
		{publisher, "what is coming in", worker("MaxPushBytesAll"), 1},
		{publisher, "what is coming in, and does not count", 4 << 10, l.pushConns},
		{publisher, "one message or line of any size", 6*worker("MaxPushBytes") + 64<<10, 1},
		{publisher, "what waits for clients", worker("MaxPendingAll"), 1},
		{publisher, "what waits, and is taken in any case", 4<<10 + 512, l.conns},
		{publisher, "in the kernel, for clients that do not read", 2 * l.sendBuffer, l.conns},
		{publisher, "a bulk request", bulkCost, l.pushConns},
		{publisher, "what bulk requests hold beyond that", worker("MaxPushBytesAll") * 5 / 4, 1},
	}
}

// defaultLimits are those of the table.
func defaultLimits(t *testing.T) limits {
	worker := defaultsOf(t, wspush.WorkerOptions{})
	return limits{exampleConns, worker("MaxPushConns"), worker("SendBuffer")}
}

// What TestCosts measures.
const (
	clientCost   = 10 << 10
	pushConnCost = 288 << 10 // most of it is what net/http makes of a header of many short fields
	answerBuffer = 64 << 10  // of the system; see TestSendBufferOfPublishers
	bulkCost     = 320 << 10 // what it holds in any case, with the buffers around it
)

// defaultsOf returns a function that looks up the default of an option, which the comment on its field says.
func defaultsOf(t *testing.T, options any) func(name string) int64 {
	source, err := os.ReadFile("options.go")
	if err != nil {
		t.Fatal(err)
	}
	constants := make(map[string]int64)
	for _, match := range regexp.MustCompile(`(?m)^\tdefault(\w+) += (\d+)(?: << (\d+))?$`).FindAllStringSubmatch(string(source), -1) {
		n, _ := strconv.ParseInt(match[2], 10, 64)
		shift, _ := strconv.Atoi(match[3])
		constants[match[1]] = n << shift
	}
	return func(name string) int64 {
		if _, ok := reflect.TypeOf(options).FieldByName(name); !ok {
			t.Fatalf("%T has no %s", options, name)
		}
		short := map[string]string{"MaxPushBytesAll": "MaxPushAll"}[name]
		for _, n := range []int64{constants[name], constants[short]} {
			if n > 0 {
				return n
			}
		}
		t.Fatalf("options.go has no default for %s", name)
		return 0
	}
}

// The table of what others can cost agrees with the options, and with itself: each row is a product, and the last ones are sums.
func TestCostsTable(t *testing.T) {
	page, err := os.ReadFile("docs/deploying.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n### What others can cost\n")
	section, _, _ = strings.Cut(section, "\n### ")
	var got []string
	for line := range strings.Lines(section) {
		inner := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "|"), "|")
		if cells := strings.Split(inner, "|"); strings.HasPrefix(line, "| ") && len(cells) == 5 {
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			cells[1], _, _ = strings.Cut(cells[1], ":") // after which the option is explained
			got = append(got, strings.Join(cells, " | "))
		}
	}
	want := []string{"who | what | each | as many as | together"}
	var sum int64
	sums := make(map[string]int64)
	last := ""
	for _, c := range costs(t, defaultLimits(t)) {
		together := c.each * c.count
		sum += together
		sums[c.who] += together
		who := c.who
		if who == last {
			who = ""
		}
		last = c.who
		want = append(want, fmt.Sprintf("%s | %s | %s | %d | %s", who, c.what, inUnits(c.each), c.count, inMiB(together)))
	}
	for _, who := range []string{"a stranger at the public port", "a stranger at the push port", "a publisher with a credential"} {
		want = append(want, fmt.Sprintf("**%s** | in all |  |  | **%s**", who, inMiB(sums[who])))
	}
	want = append(want, fmt.Sprintf("**all of them** |  |  |  | **%s**", inMiB(sum)))
	for i, line := range want {
		if i >= len(got) || got[i] != line {
			t.Errorf("the table in docs/deploying.md should have\n%s\nas row %d", line, i)
		}
	}
	if small := regexp.MustCompile("`MaxPushConns: (\\d+)` and `SendBuffer: (\\d+) << 10`.* (\\d+ MiB)").FindStringSubmatch(strings.Join(strings.Fields(section), " ")); small == nil {
		t.Error("there is no example with other limits")
	} else {
		l := limits{conns: exampleConns}
		l.pushConns, _ = strconv.ParseInt(small[1], 10, 64)
		l.sendBuffer, _ = strconv.ParseInt(small[2], 10, 64)
		l.sendBuffer <<= 10
		var sum int64
		for _, c := range costs(t, l) {
			sum += c.each * c.count
		}
		if inMiB(sum) != small[3] {
			t.Errorf("the example comes to %s, not %s", inMiB(sum), small[3])
		}
	}
	if len(got) != len(want) {
		t.Errorf("it has %d rows, not %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	options, err := os.ReadFile("docs/options.md")
	if err != nil || !strings.Contains(string(options), "(deploying.md#what-others-can-cost)") {
		t.Errorf("docs/options.md does not lead to the table: %v", err)
	}
}

func inUnits(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return strconv.FormatFloat(float64(n)/(1<<10), 'f', -1, 64) + " KiB"
}

// inMiB rounds up.
func inMiB(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// A connection costs no more than the table says, whatever its client has begun.
func TestCosts(t *testing.T) {
	if raced || testing.Short() {
		t.Skip("the race detector takes memory of its own")
	}
	w := newWorker(t, quiet())
	mount := strings.TrimPrefix(serve(t, w, &wspush.HandlerOptions{Compression: true, OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) {}}), "http://")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	newWorker(t, &wspush.WorkerOptions{Listener: listener, Advertise: []string{listener.Addr().String()}, Logger: quiet().Logger})
	push := listener.Addr().String()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	newWorker(t, &wspush.WorkerOptions{ // in which a request holds what it may in any case
		MaxPushBytesAll: 1, Listener: shortSending{inner}, Advertise: []string{inner.Addr().String()}, Logger: quiet().Logger,
	})
	small := inner.Addr().String()
	certificate, pool := testutil.NewCertificate(t)
	secure := func(auth tls.ClientAuthType) string {
		config := &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: auth, ClientCAs: pool}
		return newWorker(t, &wspush.WorkerOptions{TLS: config, Logger: quiet().Logger}).Addr().String()
	}
	hello := func(size int) func(net.Conn) { // one that does not end
		record := append([]byte{22, 3, 1, 4, 0}, make([]byte, 1<<10)...)
		first := bytes.Clone(record)
		copy(first[5:], []byte{1, 0, 0xff, 0xff})
		return func(c net.Conn) {
			_, _ = c.Write(append(first, bytes.Repeat(record, size/len(record)-1)...))
		}
	}
	readLimit := costOf(t, "a message of its that has not ended")
	message := func(c net.Conn, extension string, rsv byte, payload string) {
		shake(t, c, "", extension)
		frame := testutil.AppendFrame(nil, testutil.Frame{Rsv: rsv, Op: testutil.Text, Masked: true, Payload: []byte(payload)}, [4]byte{1, 2, 3, 4})
		_, _ = c.Write(frame[:len(frame)-1])
	}
	const deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	for _, tt := range []struct {
		name    string
		address string
		begin   func(c net.Conn)
		most    int64
	}{
		{"a silent client", mount, func(c net.Conn) { shake(t, c, "", "") }, clientCost},
		{"a client with a long handshake", mount, func(c net.Conn) {
			shake(t, c, "/"+strings.Repeat("%41", 300), "User-Agent: "+strings.Repeat("a", 500)+"\r\n")
		}, clientCost},
		{"half a message", mount, func(c net.Conn) { message(c, "", 0, big[:60<<10]) }, clientCost + readLimit},
		{"half a compressed message", mount, func(c net.Conn) {
			message(c, deflate, 4, "\x00\xff\xef\x00\x10"+big[:60<<10])
		}, clientCost + readLimit},
		{"half a message that inflates", mount, func(c net.Conn) {
			message(c, deflate, 4, string(testutil.Deflate([]byte(strings.Repeat("x", 60<<10))))+"\x00\x00\x00\xff\xff")
		}, clientCost + readLimit},
		{"a silent publisher", push, func(net.Conn) {}, pushConnCost},
		{"an idle publisher", push, func(c net.Conn) {
			_, _ = io.WriteString(c, "GET /@ready HTTP/1.1\r\nHost: x\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
				t.Error(err)
			}
		}, pushConnCost},
		{"half a header", push, func(c net.Conn) { _, _ = io.WriteString(c, "POST /ws HTTP/1.1\r\nX: "+strings.Repeat("x", 15<<10)) }, pushConnCost},
		{"half a header of many lines", push, func(c net.Conn) {
			_, _ = io.WriteString(c, "POST /ws HTTP/1.1\r\n"+strings.Repeat("X:\r\n", 15<<10/4))
		}, pushConnCost},
		{"half a header of many names", push, func(c net.Conn) {
			var header strings.Builder
			header.WriteString("POST /ws HTTP/1.1\r\n")
			for i := 0; header.Len() < 15<<10; i++ {
				fmt.Fprintf(&header, "%x:\r\n", i)
			}
			_, _ = io.WriteString(c, header.String())
		}, pushConnCost},
		{"half a hello", secure(tls.NoClientCert), hello(16 << 10), pushConnCost},
		{"half a hello where there are certificates", secure(tls.RequestClientCert), hello(60 << 10), pushConnCost},
		{"a bulk request that is not read", small, func(c net.Conn) { // each line has an answer that is far longer
			_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
			_, _ = io.WriteString(c, "POST /ws/@connections HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99999999\r\n\r\n"+strings.Repeat("{\n", 4<<10))
		}, bulkCost},
	} {
		if each := measure(t, tt.address, 60, tt.begin); each > tt.most {
			t.Errorf("%s: %d bytes each, more than %d", tt.name, each, tt.most)
		} else {
			t.Logf("%s: %d bytes each", tt.name, each)
		}
	}
}

// shortSending is a listener of connections for which the system holds little.
type shortSending struct{ net.Listener }

func (l shortSending) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		_ = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

func costOf(t *testing.T, what string) int64 {
	all := costs(t, defaultLimits(t))
	return all[slices.IndexFunc(all, func(c cost) bool { return c.what == what })].each
}

// measure returns by how many bytes each of n connections to address adds to heap and stacks, this test's own part included.
func measure(t *testing.T, address string, n int, begin func(net.Conn)) int64 {
	t.Helper()
	open := func(n int) (closeAll func()) {
		conns := make([]net.Conn, n)
		for i := range conns {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conns[i] = c
			begin(c)
		}
		return func() {
			for _, c := range conns {
				_ = c.Close()
			}
		}
	}
	open(n / 4)() // so that what is made once is there
	before := settledMemory()
	defer open(n)()
	return (settledMemory() - before) / int64(n)
}

// settledMemory waits until heap and stacks stay the same, and returns their size.
func settledMemory() int64 {
	var last int64
	for same := 0; same < 3; {
		testutil.Pass(10 * time.Millisecond)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		now := int64(m.HeapAlloc + m.StackInuse)
		if diff := now - last; -32<<10 < diff && diff < 32<<10 {
			same++
		} else {
			same = 0
		}
		last = now
	}
	return last
}

// shake does a client's half of the handshake, and reads the answer with the greeting.
func shake(t *testing.T, c net.Conn, path, header string) {
	_, _ = io.WriteString(c, "GET /ws"+path+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"+header+"\r\n")
	var answer [12]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil || string(answer[:]) != "HTTP/1.1 101" {
		t.Errorf("the handshake was answered with %q, %v", answer, err)
	}
}
