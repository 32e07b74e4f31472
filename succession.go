package wspush

// succession is how the lives of a session's WebSockets follow each other. Conn.mu guards it.
//
// At most one goroutine at a time leads: it alone calls the application. It leads until its WebSocket has ended and the callbacks
// about that have returned, and then hands on to the next life, which has not been read until then. So callbacks never overlap, however
// fast a client comes back. A WebSocket that is replaced before it has led is only read to its end.
type succession struct {
	isLed bool  // somebody leads
	next  *life // will lead; nil: none waits
	told  bool  // OnSuspend has been called, and OnResume has not; the leader's own
	over  bool  // OnDisconnect is being called, or has been
	done  bool  // it has returned
}

// leadLocked reports whether l is to lead at once. Otherwise it will when it is its turn. Nil is for the end of a suspended session.
func (k *resumable) leadLocked(l *life) bool {
	if k.isLed {
		k.next = l
		return false
	}
	k.isLed = true
	return true
}

// dropLocked takes a life out of the line. It reports whether it waited: then nobody reads it yet.
func (k *resumable) dropLocked(l *life) bool {
	if k.next != l {
		return false
	}
	k.next = nil
	return true
}

// lead is the first goroutine of a WebSocket by which a client has come back, when it is its turn.
func (l *life) lead() {
	defer l.goOn()
	l.timers.start(l.worker.alarms, l.opts.PingInterval, l.opts.IdleTimeout, l)
	l.mu.Lock()
	told := l.session.told
	l.session.told = false
	l.mu.Unlock()
	if told && l.opts.OnResume != nil {
		l.call("OnResume", func() { l.opts.OnResume(l.Conn) })
	}
}

// drain is the goroutine of a WebSocket that has been replaced before it has led.
func (l *life) drain() {
	defer func() {
		l.socket.Finish()
		l.session.leave(l)
	}()
	for {
		if _, _, err := l.socket.Read(false); err != nil {
			l.lost(readReason(err))
			return
		}
	}
}

// handOn ends the lead of a life, whose WebSocket has ended; nil is for a session that has ended while it was suspended. A callback
// that ends its goroutine ends no more than that.
func (k *resumable) handOn(l *life) {
	returned := false
	defer func() {
		if !returned {
			go k.handOn(l)
		}
	}()
	for k.handOnce(l) {
	}
	k.leave(l)
	returned = true
}

// handOnce does one thing of what there is to do at the end of a lead. It returns false if that was the last.
func (k *resumable) handOnce(l *life) (more bool) {
	c, w, opts := k.conn, k.handler.worker, &k.handler.opts
	c.mu.Lock()
	next := k.next
	switch {
	case c.reason != nil:
		k.next = nil
		over := k.over
		k.over = true
		c.mu.Unlock()
		if next != nil {
			go next.drain()
		}
		if !over {
			defer k.setDone()
			c.conclude(w, opts)
		}
		return false
	case k.life == nil && !k.told:
		k.told = true
		reason := k.lostTo
		c.mu.Unlock()
		if opts.OnSuspend != nil {
			c.call(w, "OnSuspend", func() { opts.OnSuspend(c, reason) })
		}
		return true
	case next != nil:
		k.next = nil
		c.mu.Unlock()
		go next.lead()
		return false
	}
	k.isLed = false
	c.mu.Unlock()
	return false
}

func (k *resumable) setDone() {
	k.conn.mu.Lock()
	defer k.conn.mu.Unlock()
	k.done = true
}

// leave is the last that a goroutine of a session does. Shutdown waits for the last of them.
func (k *resumable) leave(l *life) {
	c := k.conn
	c.mu.Lock()
	if l != nil {
		k.finishedLocked(l)
	}
	isLast := k.done && len(k.lives) == 0
	c.mu.Unlock()
	if isLast {
		k.handler.worker.roster.leave(c)
	}
}
