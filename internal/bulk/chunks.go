package bulk

import "sync"

// ChunkSize is the size in bytes of a chunk.
const ChunkSize = 64 << 10

// Chunks lends the buffers for what comes in and goes out. The zero value is ready for use; nil makes a buffer each time. The garbage
// collector frees what has not been lent for a while.
type Chunks struct{ pool sync.Pool } // of *[ChunkSize]byte

// Get lends a chunk, which is full of what it was used for before.
func (c *Chunks) Get() []byte {
	if c != nil {
		if chunk, ok := c.pool.Get().(*[ChunkSize]byte); ok {
			return chunk[:]
		}
	}
	return make([]byte, ChunkSize)
}

// Put takes back a chunk, of which the slice may be any first part.
func (c *Chunks) Put(chunk []byte) {
	if c != nil {
		c.pool.Put((*[ChunkSize]byte)(chunk[:ChunkSize]))
	}
}
