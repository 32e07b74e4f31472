package socket

import "time"

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
		s.traffic.in.Add(uint64(n))
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
// ends. Pongs are noted here: they are all that comes in on most connections that are silent otherwise.
//
// It is for a goroutine that does nothing else: the stack of one that has been in Read is several times as large, and would
// be kept for as long as the client is silent.
func (s *Socket) Await() {
	for s.Idle() {
		s.receive(s.input.first[:])
		s.takePongs()
	}
}

// takePongs notes the pongs at the head of what has come in.
func (s *Socket) takePongs() {
	for {
		payload, ok := s.takeControl(opPong)
		if !ok {
			return
		}
		s.gotPong(payload)
	}
}

// controlTimeout is how long the payload of a ping or pong may take to arrive; coder/websocket has the same.
const controlTimeout = 5 * time.Second

// TakePings answers the pings, and notes the pongs, at the head of what has come in, so that a client which sends nothing
// else costs neither reader nor buffer: Read would keep them until the next message. It waits for the rest of one that has
// not come in full. It is for the goroutine that goes on to Read.
func (s *Socket) TakePings() {
	var by time.Time // of the one that has begun to arrive; zero: no deadline is set
	whole := func() {
		if !by.IsZero() {
			by = time.Time{}
			_ = s.conn.SetReadDeadline(by)
		}
	}
	defer s.dropBuffer()
	defer whole()
	for {
		if payload, ok := s.takeControl(opPong); ok {
			s.gotPong(payload)
			whole()
			continue
		}
		if payload, ok := s.takeControl(opPing); ok {
			s.gotPing(payload)
			whole()
			continue
		}
		if !s.input.cutControl() || s.input.next != nil {
			return
		}
		if by.IsZero() && len(s.input.ahead()) >= shortHeader {
			by = time.Now().Add(controlTimeout)
			_ = s.conn.SetReadDeadline(by) // an error means that the connection is closed, which the read will say
		}
		s.receiveMore()
	}
}

// cutControl reports whether what is ahead may be the beginning of a ping or pong, and no more than that.
func (in *input) cutControl() bool {
	b := in.ahead()
	switch {
	case len(b) == 0 || b[0] != finBit|opPing && b[0] != finBit|opPong:
		return false
	case len(b) == 1:
		return true // as far as one can tell
	}
	return b[1]&maskBit != 0 && b[1]&^maskBit <= maxControl && len(b) < shortHeader+int(b[1]&^maskBit)
}

// receiveMore is receive behind what is ahead.
func (s *Socket) receiveMore() {
	in := &s.input
	if in.buffer == nil {
		in.buffer = s.shared.buffer()
	}
	ahead := copy(*in.buffer, in.ahead())
	s.receive((*in.buffer)[ahead:])
	in.bytes = (*in.buffer)[:ahead+len(in.bytes)]
}

// takeControl takes a control frame at the head of what has come in, if it is whole and right (RFC 6455 section 5.5) and
// has that opcode; Read sees to everything else. Nothing has come in of a message.
func (s *Socket) takeControl(op byte) (payload []byte, ok bool) {
	b := s.input.ahead()
	if len(b) < shortHeader || b[0] != finBit|op || b[1]&maskBit == 0 {
		return nil, false
	}
	end := shortHeader + int(b[1]&^maskBit)
	if end > len(b) || end > shortHeader+maxControl {
		return nil, false
	}
	payload = b[shortHeader:end]
	for i := range payload {
		payload[i] ^= b[2+i%4]
	}
	s.input.read += end
	return payload, true
}
