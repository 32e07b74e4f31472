package link

import (
	"context"
	"net/http"
)

// Links holds the links of one worker: those that it opened, by address, and those that it accepted. It is safe for concurrent
// use.
type Links struct{ config Config }

// New returns the links of a worker.
func New(c Config) *Links { return &Links{config: c} }

func (l *Links) Push(p *Push)                                        {}
func (l *Links) Abandon(p *Push, cause error)                        {}
func (l *Links) Ask(ctx context.Context, r *Request) (*Reply, error) { return nil, nil }
func (l *Links) Probe(ctx context.Context, address string) (instance uint64, err error) {
	return 0, nil
}
func (l *Links) ServeHTTP(rw http.ResponseWriter, r *http.Request, nonce string) {}
func (l *Links) Drain()                                                          {}
func (l *Links) Close(ctx context.Context)                                       {}
func (l *Links) Stats() Stats                                                    { return Stats{} }
func (in *Incoming) Answer(a Answer)                                             {}
