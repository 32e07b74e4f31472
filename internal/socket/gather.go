package socket

// A gather is what one write is given. Headers and small messages are copied into one buffer, side by side, and cost one piece
// together. The data of a large message is a piece of its own, where it lies: copying it would cost more than the piece does.
//
// A Socket borrows a gather while it writes. From when the gather is filled until the write ends, the data in it must not change.
type gather struct {
	buf    [chunkSize]byte
	used   int  // bytes of buf
	open   bool // the last piece is the end of what is used of buf
	pieces [maxPieces][]byte
	n      int // of pieces
	size   int // bytes in all pieces
	vector vector

	kernel kernel
	write  func(fd uintptr) bool // has the kernel write g; made once, because a closure for each write would be an allocation
	took   int                   // what the kernel took of the last write
	err    error                 // of the last write
}

const (
	// maxPieces is how many pieces one write may have.
	maxPieces = 16
	// maxPiece is the size in bytes of the largest piece: every system takes as much at once.
	maxPiece = 1 << 30
	// copyMax is the size in bytes up to which data is copied.
	copyMax = 4 << 10
)

// gather returns an empty gather.
func (s *Shared) gather() *gather {
	if g, ok := s.gathers.Get().(*gather); ok {
		return g
	}
	g := &gather{kernel: s.kernel}
	if g.kernel == nil {
		g.kernel = writeNonblock
	}
	g.write = func(fd uintptr) bool {
		g.took, g.err = g.kernel(fd, g)
		return true
	}
	return g
}

func (s *Shared) releaseGather(g *gather) {
	g.reset()
	s.gathers.Put(g)
}

// reset empties g, and forgets the data that was in it.
func (g *gather) reset() {
	clear(g.pieces[:g.n])
	g.used, g.open, g.n, g.size = 0, false, 0, 0
}

// hasRoom reports whether g takes more.
func (g *gather) hasRoom() bool { return g.used < len(g.buf) && g.n < len(g.pieces) }

// add adds as much of p as g takes, and returns how much that is: nothing only if g has no room.
func (g *gather) add(p []byte) int {
	switch {
	case len(p) == 0 || !g.hasRoom():
		return 0
	case len(p) > copyMax:
		p = p[:min(len(p), maxPiece)]
		g.addPiece(p)
		g.open = false
		return len(p)
	}
	from := g.used
	n := copy(g.buf[from:], p)
	g.used += n
	if g.open {
		last := &g.pieces[g.n-1]
		*last = (*last)[:len(*last)+n]
		g.size += n
		return n
	}
	g.addPiece(g.buf[from:g.used])
	g.open = true
	return n
}

func (g *gather) addPiece(p []byte) {
	g.pieces[g.n] = p
	g.n++
	g.size += len(p)
}
