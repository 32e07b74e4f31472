package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

func appendAnswer(b []byte, number uint64, target int, a Answer) []byte {
	rtt := uint64(max(a.RoundTrip, 0))
	b = appendHead(b, kindAnswer, number, 1+uvarintLen(uint64(target))+uvarintLen(rtt))
	b = append(b, a.Code)
	b = binary.AppendUvarint(b, uint64(target))
	return binary.AppendUvarint(b, rtt)
}

// hear is the reader's goroutine of a link that this worker has accepted. It never writes.
func (t *taking) hear() {
	defer close(t.read)
	err := t.prove()
	if err == nil {
		for err == nil {
			var frames []byte
			var buf *[bufSize]byte
			if frames, buf, err = t.ch.read(); err == nil {
				err = t.takeBatch(frames)
				returnBuffer(buf)
			}
			if err != nil || !t.gathers() {
				t.start()
			}
		}
	}
	t.lose(fmt.Errorf("reading: %w", err))
	_ = t.ch.ws.CloseNow() // waits for nobody, since the carrier is closed; without it the WebSocket would stay in memory
	t.ended()
}

// prove takes the first batch, which only the opener can have made.
func (t *taking) prove() error {
	frames, buf, err := t.ch.read()
	if err != nil {
		return err
	}
	defer returnBuffer(buf)
	t.mu.Lock()
	t.proved = true
	t.mu.Unlock()
	if adopt := t.links.config.Adopt; adopt != nil {
		release, ok := adopt(t.conn)
		if !ok {
			t.refuse()
			return t.readOn()
		}
		t.release = release
	}
	if err := t.succeed(); err != nil {
		return err
	}
	defer t.start()
	return t.takeBatch(frames)
}

// readOn reads until the opener has closed the link: closing it with something unread could keep the refusal from arriving.
func (t *taking) readOn() error {
	defer time.AfterFunc(t.links.bounds.overlap, func() { t.lose(errRefused) }).Stop()
	for {
		_, buf, err := t.ch.read()
		if err != nil {
			return errRefused
		}
		returnBuffer(buf)
	}
}

// succeed waits until the opener's older link has been read to its end, so that nothing of it starts after what comes here. The
// opener has lost the older one: if that does not show, it is cut.
func (t *taking) succeed() error {
	l := t.links
	l.mu.Lock()
	older := l.latest[t.from]
	isLate := older != nil && older.number > t.number
	if !isLate {
		l.latest[t.from] = t
	}
	l.mu.Unlock()
	switch {
	case isLate:
		return errNewer
	case older == nil:
		return nil
	}
	timer := time.NewTimer(l.bounds.overlap)
	defer timer.Stop()
	select {
	case <-older.read:
		return nil
	case <-t.over:
	case <-timer.C:
	}
	older.lose(errNewer)
	<-older.read
	return nil
}

// forgetLatestLocked forgets the newest link of an opener once no link of it is left. Until then an older one may come to prove itself.
func (l *Links) forgetLatestLocked(from opener) {
	for t := range l.accepted {
		if t.from == from {
			return
		}
	}
	delete(l.latest, from)
}

// ended tells those whose questions are not answered that the link is lost, and gives its place back.
func (t *taking) ended() {
	t.cancel()
	t.mu.Lock()
	var unanswered []*Incoming
	for in := t.first; in != nil; in = in.next {
		unanswered = append(unanswered, in)
	}
	reason := t.lost
	quietly := !t.proved || t.under == 0 && isEnd(reason)
	t.mu.Unlock()
	for _, in := range unanswered {
		in.cancel()
	}
	if t.release != nil {
		t.release()
	}
	t.giveRoom(t.whole + t.partials.held)
	l := t.links
	l.mu.Lock()
	delete(l.accepted, t)
	l.forgetLatestLocked(t.from)
	l.mu.Unlock()
	if !quietly {
		l.log.Info("wspush: a link from another worker is ended", "from", t.from.address, "error", reason)
	}
}

// isEnd reports whether a link has ended as links do: the other side has closed it, or this one is shutting down.
func isEnd(reason error) bool {
	var network *net.OpError
	return errors.Is(reason, errClosing) || errors.Is(reason, io.EOF) || errors.As(reason, &network)
}

// takeBatch starts what a batch asks.
func (t *taking) takeBatch(frames []byte) error {
	t.mu.Lock()
	t.heard = t.links.now()
	t.mu.Unlock()
	var err error
	for len(frames) > 0 && err == nil {
		var f frame
		if f, frames, err = cutFrame(frames); err == nil {
			err = t.takeFrame(f)
		}
	}
	if n := t.partials.grant(); n > 0 {
		t.mu.Lock()
		t.out = appendHead(t.out, kindCredit, uint64(n), 0)
		t.wakeLocked()
		t.mu.Unlock()
	}
	return err
}

const (
	// Pushes are gathered from so many on, while more have arrived: then there is a backlog, and those to one connection can share a
	// write. A few are started at once.
	gatherFrom  = 16
	gatherMost  = 4096
	gatherBytes = 1 << 20
)

// gathers reports whether what has been read waits for what has arrived behind it.
func (t *taking) gathers() bool {
	if len(t.batch) < gatherFrom || len(t.batch) >= gatherMost || t.arrived == nil {
		return false
	}
	size := 0
	for _, in := range t.batch {
		size += len(in.Data)
	}
	return size < gatherBytes && (t.buffered() > 0 || t.arrived())
}

// start starts the pushes that the batch has completed.
func (t *taking) start() {
	if len(t.batch) > 0 {
		t.mu.Lock()
		t.corked = true
		t.mu.Unlock()
		t.links.config.Handler.Push(t.batch)
		t.giveRoom(t.whole)
		t.whole = 0
		t.mu.Lock()
		t.corked = false
		few := len(t.out) > 0 && len(t.out) < corkBytes
		t.mu.Unlock()
		if few {
			t.flush()
		}
		clear(t.batch)
		t.batch = t.batch[:0]
		if cap(t.batch) > maxKept {
			t.batch = nil
		}
	}
}

func (t *taking) takeFrame(f frame) error {
	r := reader{f.body, false}
	switch f.kind {
	case kindPush:
		in := &Incoming{number: f.number}
		r.readMeta(in, &t.paths)
		data, ok := in.readIDs(r.rest)
		if r.bad || !ok || len(data) > maxSmall {
			return errFrame
		}
		taken, err := t.take(in, int64(len(data)), true)
		if taken {
			in.Data = bytes.Clone(data)
			t.batch = append(t.batch, in)
		}
		return err
	case kindBegin:
		in := &Incoming{number: f.number}
		r.readMeta(in, &t.paths)
		size := r.size()
		taken, err := false, error(errFrame)
		if !r.bad && size > maxSmall && size >= int64(in.more)*idSize {
			hasRoom := t.takeRoom(size)
			taken, err = t.take(in, size-int64(in.more)*idSize, hasRoom)
			if hasRoom && !taken {
				t.giveRoom(size)
			}
		}
		if err == nil {
			if err = t.partials.begin(f.number, &partial{size: size, in: in, drop: !taken}); err != nil && taken {
				t.giveRoom(size)
			}
		}
		return err
	case kindPiece:
		whole, err := t.partials.piece(f.number, f.body)
		if whole != nil && !whole.drop {
			whole.in.Data, _ = whole.in.readIDs(whole.data) // begin has checked the size
			t.batch = append(t.batch, whole.in)
			t.whole += whole.size
		}
		return err
	case kindAsk:
		q, err := readRequest(f.body)
		if err != nil {
			return err
		}
		t.start() // what came before it starts before it
		in := &Incoming{number: f.number, targets: 1}
		if taken, err := t.take(in, 0, true); !taken {
			return err
		}
		ctx, cancel := context.WithCancel(t.ctx)
		in.Cancel = cancel
		t.links.running.Go(func() { t.serve(ctx, in, q) })
		return nil
	}
	if len(f.body) > 0 && f.kind != kindBye {
		return errFrame
	}
	switch f.kind {
	case kindCancel:
		return t.cancelQuestion(f.number)
	case kindCredit:
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.lost == nil && f.number > uint64(window-t.large.credit) {
			return errFrame
		}
		t.large.credit += int(f.number)
		t.wakeLocked()
		return nil
	case kindPing:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.out = appendHead(t.out, kindPong, 0, 0)
		t.wakeLocked()
		return nil
	case kindBye:
		reason := r.byte()
		t.mu.Lock()
		defer t.mu.Unlock()
		if r.bad || len(r.rest) > 0 || reason != byeGoing || f.number != t.last {
			return errFrame
		}
		t.left = true
		return nil
	}
	return errFrame
}

// takeRoom takes room for a large body. It does not wait for it: neither answers nor other questions may wait behind a body.
func (t *taking) takeRoom(size int64) bool {
	room := t.links.config.Room
	return room == nil || room.Take(size)
}

func (t *taking) giveRoom(size int64) {
	if room := t.links.config.Room; room != nil && size > 0 {
		room.Give(size)
	}
}

// take takes a question, if it is one that this worker takes. A body that is too large, or for which there is no room, is answered at
// once.
func (t *taking) take(in *Incoming, size int64, hasRoom bool) (taken bool, err error) {
	c := &t.links.config
	t.mu.Lock()
	defer t.mu.Unlock()
	if in.number != t.last+1 || t.left || t.under >= maxTaken {
		return false, errFrame
	}
	t.last++
	switch {
	case t.saidBye, t.lost != nil:
		return false, nil
	case c.MaxBody >= 0 && size > c.MaxBody:
		t.refuseLocked(in, Answer{Code: c.TooLarge, RoundTrip: time.Duration(c.MaxBody)})
		return false, nil
	case !hasRoom:
		t.refuseLocked(in, Answer{Code: c.Full})
		return false, nil
	}
	t.takeLocked(in)
	return true, nil
}

// refuseLocked answers a push, for all of its targets.
func (t *taking) refuseLocked(in *Incoming, a Answer) {
	for target := range in.targets {
		t.out = appendAnswer(t.out, in.number, target, a)
	}
	t.wakeLocked()
}

// cancelQuestion tells the handler that the asker has given up, or drops what has come of an unfinished body.
func (t *taking) cancelQuestion(number uint64) error {
	if p := t.partials.forget(number); p != nil {
		if !p.drop { // the handler has not heard of it
			t.giveRoom(p.size)
			t.mu.Lock()
			t.overLocked(p.in)
			t.mu.Unlock()
		}
		return nil
	}
	t.start() // it may be among those that have not been started
	t.mu.Lock()
	if number > t.last {
		t.mu.Unlock()
		return errFrame
	}
	in := t.first
	for in != nil && in.number != number {
		in = in.next
	}
	t.mu.Unlock()
	if in != nil {
		in.cancel()
	}
	return nil
}
