package bulk

// Answers are lines of an answer that wait to be written. They lie in chunks, so that they take about as much room as they have bytes,
// and so that nothing has to be copied when there are more of them. It is not safe for concurrent use.
type Answers struct {
	chunks *Chunks
	parts  [][]byte // the last one may have room
	spare  []byte   // a small part for the next answers
}

// NewAnswers makes Answers that lie in those chunks.
func NewAnswers(chunks *Chunks) Answers { return Answers{chunks: chunks} }

// Add adds a line, which may be changed afterwards.
func (a *Answers) Add(line []byte) {
	for len(line) > 0 {
		part := a.room()
		n := min(cap(*part)-len(*part), len(line))
		*part = append(*part, line[:n]...)
		line = line[n:]
	}
}

// room returns a part that is not full. The first one is small, since most answers are few.
func (a *Answers) room() *[]byte {
	last := len(a.parts) - 1
	switch {
	case last >= 0 && len(a.parts[last]) < cap(a.parts[last]):
		return &a.parts[last]
	case last >= 0:
		a.parts = append(a.parts, a.chunks.Get()[:0])
	case a.spare != nil:
		a.parts, a.spare = append(a.parts, a.spare), nil
	default:
		a.parts = append(a.parts, make([]byte, 0, minChunk))
	}
	return &a.parts[len(a.parts)-1]
}

// Take takes out everything that has been added, to be written one part after the other.
func (a *Answers) Take() [][]byte {
	parts := a.parts
	a.parts = nil
	return parts
}

// Reuse takes back a part that has been written.
func (a *Answers) Reuse(part []byte) {
	if cap(part) == ChunkSize {
		a.chunks.Put(part)
	} else {
		a.spare = part[:0]
	}
}
