//go:build !unix

package socket

import "runtime"

// A Breather lets goroutines that have much to do give way to others. On this system that is runtime.Gosched.
type Breather struct{}

// NewBreather makes a Breather, which must be closed.
func NewBreather() *Breather { return new(Breather) }

// Breathe lets others run.
func (b *Breather) Breathe() { runtime.Gosched() }

// Close releases the Breather.
func (b *Breather) Close() {}
