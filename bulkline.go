package wspush

import (
	"bytes"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// linePush is what a line of a bulk request asks for, once that has been found to make sense.
type linePush struct {
	to       bulk.Targets // IDs and sealed IDs
	members  *Recipients  // whom it is for in place of to, or nil; not yet checked
	except   bulk.Targets // of those: IDs and sealed IDs
	typ      MessageType
	data     []byte // like to, it lies in the line, unless it is kept
	isKept   bool
	isShared bool            // it is for several connections, although to is no list
	payload  *socket.Payload // of the message; nil until shared makes it
	ref      string          // as JSON; "" if there is none
	confirm  bool
	timeout  time.Duration // 0: the default
	keep     wire.Keep
	mark     uint64 // see newMark
}

// readLine finds out what a line asks for, by the rules of a push of its own.
func readLine(p bulk.Push) (push linePush, err error) {
	push = linePush{to: p.To, except: p.Except, typ: p.Type, data: p.Data, ref: p.Ref}
	switch {
	case p.User != nil:
		push.members = &Recipients{name: string(p.User)}
	case p.Group != nil:
		push.members = &Recipients{name: string(p.Group), isGroup: true}
	}
	for _, to := range p.To.All() {
		if !address.IsName(to) {
			return push, address.ErrMalformedID
		}
	}
	if p.Confirm != nil {
		if push.confirm = string(p.Confirm) == confirmReceived; !push.confirm {
			return push, errConfirm
		}
	}
	if p.Timeout != nil {
		if len(p.Timeout) > maxTimeoutText {
			return push, errTimeout
		}
		if push.timeout, err = parseTimeout(string(p.Timeout)); err != nil {
			return push, err
		}
	}
	if p.Keep != nil {
		if len(p.Keep) > maxTimeoutText {
			return push, errKeep
		}
		if push.keep, err = parseKeep(string(p.Keep)); err != nil {
			return push, err
		}
	}
	return push, nil
}

// maxTimeoutText is how many bytes of a line its timeout, and its keep, may have: reading a long one takes many times its length.
const maxTimeoutText = 256

// query is what the query of a push of its own would ask for.
func (p *linePush) query() pushQuery {
	return pushQuery{confirm: p.confirm, timeout: p.timeout, keep: p.keep}
}

// kept returns the message as it can be kept when the line is gone. All targets share it.
func (p *linePush) kept() []byte {
	if !p.isKept {
		p.data, p.isKept = bytes.Clone(p.data), true
	}
	return p.data
}

// shared returns the message for several connections of the worker.
func (p *linePush) shared(w *Worker) *socket.Payload {
	if p.payload == nil {
		p.payload = w.sockets.NewPayload(p.typ == Binary, p.kept())
		p.payload.Keep()
	}
	return p.payload
}
