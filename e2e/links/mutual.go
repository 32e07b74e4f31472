//go:build linux

package main

import (
	"errors"
	"net/http"
	"time"
)

// mutualTLS has workers demand each other's certificates.
func (s *scene) mutualTLS() {
	asker, holder, bare := s.place("asker"), s.place("both have certificates"), s.place("one without a certificate")
	for _, p := range []*place{asker, holder} {
		p.set.Certificate, p.set.CertificateKey = s.certs.certificate, s.certs.key
	}
	if !s.starts(asker.start(), holder.start(), bare.start()) {
		return
	}
	s.traffic(asker, holder)
	clients, err := holder.connect(2)
	if !s.starts(err) {
		return
	}
	publishers := s.publishers(bare)
	publishers.each(s.ctx, 4, 20, 200, 50*time.Millisecond, clients)
	err = errors.Join(publishers.book.only(http.StatusBadGateway), s.judge(publishers.book, clients))
	s.check("502 from a worker without a certificate, and nothing is written", err)
}
