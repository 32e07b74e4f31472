package bulk

// Unhanded returns how many bytes the transport has not taken.
func (r *Request) Unhanded() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted - r.handed
}

// AppendChecked appends a line with its check.
func AppendChecked(dst []byte, number int, line []byte) []byte {
	return append(appendCheck(dst, number, checksum(line[1:])), line[1:]...)
}

// NeedingWhole returns a request that has found out whether it is needed whole.
func NeedingWhole(whole bool) *Request { return &Request{needsWhole: whole} }
