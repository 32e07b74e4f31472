package link

import (
	"fmt"
)

// read is the reader's goroutine of a link that this worker opened. It never writes.
func (k *asking) read() {
	var over []outcome // used again for each batch
	for {
		frames, buf, err := k.ch.read()
		if err != nil {
			err = fmt.Errorf("reading: %w", err)
		} else {
			over, err = k.hear(frames, over[:0])
			returnBuffer(buf)
			k.out.tell(over)
			clear(over)
			if cap(over) > maxKept {
				over = nil
			}
		}
		if err != nil {
			k.lose(err)
			_ = k.ch.ws.CloseNow() // waits for nobody, since the carrier is closed; without it the WebSocket would stay in memory
			return
		}
	}
}

// hear takes in what one batch says.
func (k *asking) hear(frames []byte, over []outcome) ([]outcome, error) {
	o := k.out
	o.mu.Lock()
	defer o.mu.Unlock()
	k.heard = o.links.now()
	for len(frames) > 0 {
		f, rest, err := cutFrame(frames)
		if err != nil {
			return over, err
		}
		frames = rest
		if over, err = k.hearFrameLocked(f, over); err != nil {
			return over, err
		}
	}
	if n := k.replies.grant(); n > 0 {
		k.control = appendHead(k.control, kindCredit, uint64(n), 0)
	}
	k.answeredLocked()
	over = append(over, k.settleLocked()...)
	if k.readyLocked() && !k.writing {
		k.wakeLocked()
	}
	return over, nil
}

func (k *asking) hearFrameLocked(f frame, over []outcome) ([]outcome, error) {
	r := reader{f.body, false}
	switch f.kind {
	case kindAnswer:
		code, target := r.byte(), r.uvarint()
		a := Answer{Code: code, RoundTrip: r.duration()}
		if r.bad || len(r.rest) > 0 || target > maxMore {
			return over, errFrame
		}
		return k.answerLocked(f.number, false, outcome{target: int(target), answer: a}, over)
	case kindReply:
		y := r.readReply()
		y.Body = append(y.Body, r.rest...)
		if r.bad {
			return over, errFrame
		}
		return k.answerLocked(f.number, true, outcome{reply: y}, over)
	case kindBegin:
		y := r.readReply()
		size := r.size()
		p := k.flying[f.number]
		if r.bad || size > maxReply || f.number > k.last || p != nil && !p.takesReply() {
			return over, errFrame
		}
		return over, k.replies.begin(f.number, &partial{size: size, reply: y, drop: p == nil})
	case kindPiece:
		whole, err := k.replies.piece(f.number, f.body)
		if err != nil || whole == nil {
			return over, err
		}
		whole.reply.Body = whole.data // nil if nobody wants it
		return k.answerLocked(f.number, true, outcome{reply: whole.reply}, over)
	case kindCredit:
		if len(f.body) > 0 || f.number > uint64(window-k.large.credit) {
			return over, errFrame
		}
		k.large.credit += int(f.number)
		return over, nil
	case kindPong:
		if len(f.body) > 0 {
			return over, errFrame
		}
		return over, nil
	case kindBye:
		reason := r.byte()
		if r.bad || len(r.rest) > 0 || f.number > k.last {
			return over, errFrame
		}
		if reason == byeFull && f.number == 0 {
			return over, fmt.Errorf("%w: the worker has no place for another link", ErrFull)
		}
		return append(over, k.byeLocked(f.number)...), nil
	}
	return over, errFrame
}

// answerLocked takes in an answer. Nobody may be waiting for it any more.
func (k *asking) answerLocked(number uint64, isReply bool, what outcome, over []outcome) ([]outcome, error) {
	p := k.flying[number]
	if p == nil {
		if number == 0 || number > k.last {
			return over, errFrame
		}
		return over, nil
	}
	if isReply && !p.takesReply() || !isReply && p.request != nil {
		return over, errFrame
	}
	if what.target >= p.targets() || p.answered.has(what.target) {
		return over, errFrame
	}
	if p.stage == stageLarge { // refused before all of it was sent
		k.large.remove(p.body)
		p.stage, p.body = stageSent, nil
		k.control = appendHead(k.control, kindCancel, number, 0)
		k.releaseLocked(p.Sequence)
	}
	p.answered.set(what.target)
	if p.left--; p.left == 0 {
		delete(k.flying, number)
		k.bytes -= p.size
		k.out.overLocked(p)
		what.last = p.Sequence
	}
	what.push = p
	return append(over, what), nil
}
