package wspush

// succession is how the lives of a session's WebSockets follow each other. Conn.mu guards it.
//
// At most one life leads: its goroutine alone calls the application. A newer one takes the lead, but not in the middle of a callback: then it waits,
// and is not read until that has returned. So callbacks never overlap, however fast a client comes back. A WebSocket that has been
// replaced is only read to its end.
type succession struct {
	leader    *life // nil, although isLed, for the end of a suspended session
	next      *life // will lead; nil: none waits
	isLed     bool
	isCalling bool // it calls the application, or is about to, and keeps the lead
	told      bool // OnSuspend has been called, and OnResume has not
	over      bool // OnDisconnect is being called, or has been
	done      bool // it has returned
	hasCome   bool // the session was made from what another worker, or an earlier start, has left; set once
	isTaken   bool // the session has been taken from its outbox, to be written
}

// leadLocked reports whether l leads from now on: its first goroutine is to be started. Otherwise it will when it is its turn. Nil is for the
// end of a suspended session.
func (k *resumable) leadLocked(l *life) bool {
	if k.isLed && (k.isCalling || l == nil) {
		if l != nil {
			k.next = l
		}
		return false
	}
	k.isLed, k.leader, k.isCalling = true, l, true
	return true
}

// enter reports whether the life may call the application about something that has come from the client, and keeps the lead until rest.
func (l *life) enter() bool {
	k := l.session
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.reason != nil:
		return false
	case !k.isSession():
		return true
	case k.life != l || k.leader != l:
		return false
	}
	k.isCalling = true
	return true
}

// rest ends what enter has begun, or the first goroutine of a life. If another one waits, it has the lead now.
func (l *life) rest() {
	k := l.session
	if !k.isSession() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.leader != l {
		return
	}
	k.isCalling = false
	if next := k.next; next != nil {
		k.next, k.leader, k.isCalling = nil, next, true
		go next.lead()
	}
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
	defer l.rest()
	l.timers.start(l.handler.worker.alarms, l.handler.opts.PingInterval, l.handler.opts.IdleTimeout, l)
	l.mu.Lock()
	told := l.session.told && l.reason == nil
	l.session.told = false
	l.mu.Unlock()
	if told && l.handler.opts.OnResume != nil {
		l.call("OnResume", func() { l.handler.opts.OnResume(l.Conn) })
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

// handOn is for the end of a life's WebSocket. If the life leads, it tells the application, and then lets the next one lead; nil is for a
// session that has ended while it was suspended. A callback that ends its goroutine ends no more than that.
func (k *resumable) handOn(l *life) {
	k.awaitMade()
	returned := false
	defer func() {
		if !returned {
			go k.handOn(l)
		}
	}()
	if k.keepLead(l) {
		for k.handOnce(l) {
		}
	}
	k.leave(l)
	returned = true
}

// keepLead reports whether the life leads, and lets nobody take the lead.
func (k *resumable) keepLead(l *life) bool {
	k.conn.mu.Lock()
	defer k.conn.mu.Unlock()
	if !k.isLed || k.leader != l {
		return false
	}
	k.isCalling = true
	return true
}

// handOnce does one thing of what there is to do at the end of a lead. It returns false if that was the last.
func (k *resumable) handOnce(l *life) (more bool) {
	c, w, opts := k.conn, k.handler.worker, &k.handler.opts
	c.mu.Lock()
	next := k.next
	switch {
	case c.reason != nil && next == nil:
		over := k.over
		k.over = true
		c.mu.Unlock()
		if !over {
			defer k.setDone()
			c.conclude(w, opts)
		}
		return false
	case c.reason == nil && k.life == nil && !k.told && !k.isFrozenLocked():
		k.told = true
		reason := k.away.lostTo
		c.mu.Unlock()
		if opts.OnSuspend != nil {
			c.call(w, "OnSuspend", func() { opts.OnSuspend(c, reason) })
		}
		return true
	case next != nil:
		k.next, k.leader = nil, next
		c.mu.Unlock()
		go next.lead()
		return false
	}
	k.isLed, k.leader, k.isCalling = false, nil, false
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
	isLast, isResting := k.done && len(k.lives) == 0, k.restsLocked()
	c.mu.Unlock()
	switch roster := k.handler.worker.roster; {
	case isLast:
		roster.leave(c)
	case isResting && roster.isClosed(): // for good: nobody can come back
		roster.rest(c)
	}
}
