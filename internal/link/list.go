package link

// list is a queue of pushes. A push is in one list at most.
type list struct{ head, tail *Push }

func (l *list) pushBack(p *Push) {
	p.list, p.prev, p.next = l, l.tail, nil
	if l.tail != nil {
		l.tail.next = p
	} else {
		l.head = p
	}
	l.tail = p
}

func (l *list) pushFront(p *Push) {
	p.list, p.prev, p.next = l, nil, l.head
	if l.head != nil {
		l.head.prev = p
	} else {
		l.tail = p
	}
	l.head = p
}

// remove removes a push from the list that it is in, if any.
func (p *Push) remove() {
	l := p.list
	if l == nil {
		return
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		l.head = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		l.tail = p.prev
	}
	p.list, p.prev, p.next = nil, nil, nil
}
