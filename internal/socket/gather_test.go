package socket

import (
	"bytes"
	"testing"
)

// joined is what a write would write.
func (g *gather) joined() []byte { return bytes.Join(g.pieces[:g.n], nil) }

// Small things share a piece, large ones are not copied, and the order stays.
func TestGather(t *testing.T) {
	small, large := bytes.Repeat([]byte("s"), copyMax), bytes.Repeat([]byte("L"), copyMax+1)
	g := new(gather)
	var want []byte
	for _, p := range [][]byte{[]byte("1"), small, large, []byte("2"), nil, []byte("3"), large, large, small} {
		if n := g.add(p); n != len(p) {
			t.Fatalf("%d of %d bytes were added", n, len(p))
		}
		want = append(want, p...)
	}
	if got := g.joined(); !bytes.Equal(got, want) || g.size != len(want) {
		t.Errorf("%d bytes, counted as %d, are not the %d that were added", len(got), g.size, len(want))
	}
	if g.n != 6 {
		t.Errorf("%d pieces, want 6", g.n)
	}
	for _, i := range []int{1, 3, 4} {
		if &g.pieces[i][0] != &large[0] {
			t.Errorf("piece %d is a copy", i)
		}
	}
	g.reset()
	for i, p := range g.pieces {
		if p != nil {
			t.Errorf("piece %d is kept", i)
		}
	}
	if g.add(small) != len(small) || !bytes.Equal(g.joined(), small) {
		t.Error("after a reset, not what was added")
	}
}

// A gather that is full takes nothing more, whether its buffer is used up or its pieces are.
func TestGatherIsFull(t *testing.T) {
	small, large := bytes.Repeat([]byte("s"), 3000), bytes.Repeat([]byte("L"), copyMax+1)
	for name, p := range map[string][]byte{"buffer": small, "pieces": large} {
		g := new(gather)
		var want []byte
		for {
			n := g.add(p)
			want = append(want, p[:n]...)
			if n == 0 {
				break
			}
		}
		if g.hasRoom() || !bytes.Equal(g.joined(), want) {
			t.Errorf("%s: has room: %t; %d bytes, want %d", name, g.hasRoom(), g.size, len(want))
		}
	}
}
