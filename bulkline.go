package wspush

import (
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/bulk"
)

// linePush is what a line of a bulk request asks for, once that has been found to make sense.
type linePush struct {
	to      []string // IDs and sealed IDs, at least one
	isList  bool     // to was an array
	typ     MessageType
	data    []byte
	ref     string // as JSON; "" if there is none
	confirm bool
	timeout time.Duration // 0: the default
}

// readLine finds out what a line asks for, by the rules of a push of its own.
func readLine(p bulk.Push) (push linePush, err error) {
	push = linePush{to: p.To, isList: p.IsList, typ: p.Type, data: p.Data, ref: p.Ref}
	for _, to := range p.To {
		if !address.IsName(to) {
			return push, address.ErrMalformedID
		}
	}
	if p.Confirm != nil {
		if push.confirm = *p.Confirm == confirmReceived; !push.confirm {
			return push, errConfirm
		}
	}
	if p.Timeout != nil {
		if push.timeout, err = parseTimeout(*p.Timeout); err != nil {
			return push, err
		}
	}
	return push, nil
}
