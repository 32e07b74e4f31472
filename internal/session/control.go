package session

// ControlByte is U+0006. Text messages that begin with one of them are control, in both directions. An application's own text that begins with
// it gets another one in front on the wire, so that control is never taken for a message, nor a message for control.
const ControlByte = 0x06

const (
	// ProbeWord is the word by which a client asks whether anybody is there, since a browser sees no pings.
	ProbeWord = "p"
	// Probe is the text message with that word: the question, and its answer.
	Probe = string(rune(ControlByte)) + ProbeWord
)

// Control judges a text message from the client. If it is control, word is what it says, which may be unknown and is to be ignored then.
// Otherwise payload is the message as the application gets it: a part of data.
func Control(data []byte) (isControl bool, word, payload []byte) {
	if len(data) > 0 && data[0] == ControlByte && (len(data) == 1 || data[1] != ControlByte) {
		return true, data[1:], nil
	}
	return false, nil, Unescape(data)
}

// Unescape returns the message that a text message stands for which is no control: a part of data.
func Unescape(data []byte) []byte {
	if len(data) > 1 && data[0] == ControlByte && data[1] == ControlByte {
		return data[1:]
	}
	return data
}

// Escape returns the text message that stands for a message: data itself, or a copy.
func Escape(data []byte) []byte {
	if len(data) == 0 || data[0] != ControlByte {
		return data
	}
	return append([]byte{ControlByte}, data...)
}
