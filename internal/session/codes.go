package session

// Close codes with a meaning for sessions. The codes from 3000 on are for libraries, and registered with IANA or not (RFC 6455 section 7.4.2).
const (
	CodeUnauthorized = 3000 // from the worker, registered: the client must log in (again)
	CodeForbidden    = 3003 // from the worker, registered: the client may not
	CodeBack         = 3901 // from the client: it will be back, and its session must not end
	CodeReplaced     = 3909 // from the worker: the client has come back by another WebSocket, and must not by this one's ticket
)

const (
	codeNormal   = 1000
	codeNoStatus = 1005 // stands for a close frame without a code
)

// Ends reports whether a close frame with this code, from the client, ends its session: 1005 stands for no code. Any other one only
// suspends it, such as 1001, which a page sends that is reloaded or kept for the back button. It is for close frames that the client
// sends first, and not for those that answer the worker's.
func Ends(code int) bool {
	switch {
	case code == codeNormal, code == codeNoStatus:
		return true
	case code == CodeBack:
		return false
	}
	return code >= 3000 && code <= 4999
}
