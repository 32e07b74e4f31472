package socket

// input is what has come in from the client and has not been read yet. It is the reading goroutine's.
//
// A connection that waits for its client keeps nothing but first: a buffer for as long as it lives would be most of what it
// costs. One of the worker's buffers is taken when bytes come in, and given back when they are read.
type input struct {
	bytes  []byte // what came in last: in buffer, in first, or along with the handshake
	read   int    // how much of it has been read
	buffer *[]byte
	first  [firstSize]byte
	next   error // what the next read of the connection returns, because it came with bytes
	failed error // why nothing more can be read, once the reader has been told
}

// firstSize has room for a pong that answers a ping of ours: 6 bytes and a number.
const firstSize = 32

// ahead is what is there to be read without waiting.
func (in *input) ahead() []byte { return in.bytes[in.read:] }

// receive waits for what the connection has to say, and puts it into p. Nothing is ahead.
func (s *Socket) receive(p []byte) {
	in := &s.input
	if in.next != nil {
		return
	}
	n, err := s.conn.Read(p)
	if n > 0 {
		s.received.Store(int64(s.Now()))
	}
	in.bytes, in.read, in.next = p[:n], 0, err // TLS, for one, may have both: the bytes come first
}

// readAhead is io.Reader's Read of what has come in and will.
func (s *Socket) readAhead(p []byte) (int, error) {
	in := &s.input
	if len(in.ahead()) == 0 {
		if in.buffer == nil {
			in.buffer = s.shared.buffer()
		}
		s.receive(*in.buffer)
	}
	n := copy(p, in.ahead())
	in.read += n
	if n == 0 {
		in.failed = in.next
	}
	return n, in.failed
}

// dropBuffer gives back the buffer, if everything in it is read.
func (s *Socket) dropBuffer() {
	in := &s.input
	if len(in.ahead()) > 0 {
		return
	}
	in.bytes, in.read = nil, 0
	if in.buffer != nil {
		s.shared.release(in.buffer)
		in.buffer = nil
	}
}

// Idle reports whether Read would have to wait for the client, as far as can be known.
func (s *Socket) Idle() bool { return len(s.input.ahead()) == 0 && s.input.next == nil }

// Await waits until there is something for Read to do; when it is Idle, that is when something comes in, or the connection
// ends. Pongs are noted here: in a connection that is otherwise silent, nothing else comes.
//
// It is for a goroutine that does nothing else: the stack of one that has been in Read is several times as large, and would
// be kept for as long as the client is silent.
func (s *Socket) Await() {
	for s.Idle() {
		s.receive(s.input.first[:])
		s.takePongs()
	}
}

// takePongs takes the pongs at the head of what has come in, if they are whole and right (RFC 6455 section 5.5.3); Read
// sees to everything else. Nothing has come in of a message.
func (s *Socket) takePongs() {
	const short = 6 // the length of a header with a mask, but without an extended length
	for in := &s.input; ; {
		b := in.ahead()
		if len(b) < short || b[0] != finBit|opPong || b[1]&maskBit == 0 {
			return
		}
		end := short + int(b[1]&^maskBit)
		if end > len(b) { // too long for a control frame, maybe
			return
		}
		payload, mask := b[short:end], b[2:short]
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		in.read += end
		s.gotPong(payload)
	}
}
