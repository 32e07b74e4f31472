package wspush

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestReadPushQuery(t *testing.T) {
	for raw, want := range map[string]pushQuery{
		"":                                 {},
		"&&":                               {},
		"type=text":                        {typ: Text},
		"t%79pe=binary":                    {typ: Binary},
		"confirm=received&timeout=1500ms":  {confirm: true, timeout: 1500 * time.Millisecond},
		"timeout=1h":                       {timeout: maxTimeout}, // cut, not refused
		"timeout=2562047h47m16.854775807s": {timeout: maxTimeout},
		"timeout=9999999999h":              {timeout: maxTimeout},
		"timeout=99999999999999999999.5s":  {timeout: maxTimeout},
		"X-Amz-Signature=x&type=text&X-Amz-Signature=y": {typ: Text},
	} {
		if got, err := readPushQuery(raw); err != nil || got != want {
			t.Errorf("%q: %+v, %v", raw, got, err)
		}
	}
	for raw, want := range map[string]string{
		"confrim=received":                     `unknown query parameter "confrim": did you mean "confirm"?`,
		"Confirm=received":                     `unknown query parameter "Confirm": did you mean "confirm"?`,
		"confirmed=received":                   `unknown query parameter "confirmed": did you mean "confirm"?`,
		"tipe=text":                            `unknown query parameter "tipe": did you mean "type"?`,
		"timeuot=1s":                           `unknown query parameter "timeuot": did you mean "timeout"?`,
		"to=1":                                 `unknown query parameter "to": this request takes type, confirm, timeout, keep`,
		"x-amz-=1":                             `unknown query parameter "x-amz-": this request takes type, confirm, timeout, keep`,
		"b=1&a=1&confrim=1":                    `unknown query parameter "b": this request takes type, confirm, timeout, keep`, // the first
		"type=x&confrim=1":                     `unknown query parameter "confrim": did you mean "confirm"?`,
		"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed": `unknown query parameter "1b9d6bcd…": this request takes type, confirm, timeout, keep`,
		"type=text&type=text":                  "there is more than one type in the query",
		"type=text;x":                          "the query is malformed",
		"confrim&%zz":                          "the query is malformed",
		"type":                                 "type must be text or binary",
		"confirm":                              "confirm must be received",
		"timeout":                              errTimeout.Error(),
		"timeout=-1s":                          errTimeout.Error(),
		"timeout=0":                            errTimeout.Error(),
		"timeout=5":                            errTimeout.Error(),
		"timeout=-9999999999h":                 errTimeout.Error(),
		"timeout=9999999999x":                  errTimeout.Error(),
		strings.Repeat("&", maxQuery+1):        errLongQuery.Error(),
	} {
		if got, err := readPushQuery(raw); err == nil || err.Error() != want {
			t.Errorf("%q: %+v, %v; want %s", raw, got, err, want)
		}
	}
}

// FuzzReadQuery: whatever a query holds, what is accepted has each parameter once and none that is unknown.
func FuzzReadQuery(f *testing.F) {
	for _, raw := range []string{"", "type=text", "confirm=received&timeout=1s", "confrim=x", "%zz", "a;b", "=", "&", "type&type", "X-Amz-Date=1"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		known := map[string]bool{"type": true, "confirm": true, "timeout": true}
		values, err := readQuery(raw, "type", "confirm", "timeout")
		for name, all := range values {
			if err == nil && !isPresigned(name) && (!known[name] || len(all) != 1) {
				t.Errorf("%q: accepted %q %d times", raw, name, len(all))
			}
		}
		if q, err := readPushQuery(raw); err == nil && (q.timeout < 0 || q.timeout > maxTimeout) {
			t.Errorf("%q: %+v", raw, q)
		}
		if len(raw) < math.MaxUint8 {
			nearest(raw, []string{"type", "confirm", "timeout"})
		}
	})
}
