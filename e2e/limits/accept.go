//go:build linux

package main

import (
	"fmt"
	"time"
)

// noDescriptors opens more connections than the worker has descriptors, for clients and for publishers, and leaves after a while.
func (s *scene) noDescriptors() error {
	for _, address := range []string{s.victim.App, s.victim.Push} {
		opened, err := parallel(s.victim.Descriptors+300, 50, func(int) error {
			_, err := s.dial(address)
			return err
		})
		s.noted += fmt.Sprintf("%d to %s; ", opened, address)
		if err != nil {
			return err
		}
		s.hold(3 * time.Second)
		s.leave()
		s.hold(time.Second)
	}
	s.noted += fmt.Sprintf("%d descriptors", s.victim.Descriptors)
	return nil
}

// acceptFails only waits: the system of the worker's push listener fails to accept a connection now and then, in every way it can.
func (s *scene) acceptFails() error {
	s.hold(4 * time.Second)
	return nil
}
