package bulk

// Unhanded returns how many bytes the transport has not taken.
func (r *Request) Unhanded() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted - r.handed
}
