package wspush

import (
	"context"
	"log/slog"

	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/link"
)

// startLinks lets the worker ask other workers, and be asked by them.
func (w *Worker) startLinks() {
	w.holder = &holder{worker: w}
	config := link.Config{
		Keys: w.cluster.keys, Address: w.cluster.address, Instance: w.cluster.instance, TLS: w.cluster.tls,
		MaxBody: w.opts.MaxPushBytes, TooLarge: outcomeTooLarge, Handler: w.holder,
		Room: &w.bodies.budget, Full: outcomeFull,
		Adopt: lane.NewLinks(lane.MaxLinks).Adopt, Arrived: lane.Arrived,
		Log: slog.New(calmHandler{w.shared.log.Handler()}),
	}
	if d, ok := w.opts.Cluster.Directory.(inMemory); ok {
		config.Dial, _ = d.InMemory()
	}
	w.links = link.New(config)
}

// cutOff ends everything that waits for other workers, when a Shutdown has no more time.
func (w *Worker) cutOff() {
	w.cutAll()
	if w.links != nil {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		w.links.Close(ended)
	}
}

// stopLinks ends the links, once nothing is under way on them. When ctx ends, it cuts them.
func (w *Worker) stopLinks(ctx context.Context) {
	if w.links == nil {
		return
	}
	w.links.Drain()
	w.links.Close(ctx)
	w.cutAll()
	<-w.takeovers.running.none()
	<-w.holder.telling.none()
	<-w.cluster.alone.probes.none()
}

// calmHandler keeps a panic of the application's log handler from ending the process: above what a link logs there is no handler
// that would recover it.
type calmHandler struct{ slog.Handler }

func (h calmHandler) Handle(ctx context.Context, r slog.Record) error {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, r)
}

func (h calmHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return calmHandler{h.Handler.WithAttrs(attrs)}
}

func (h calmHandler) WithGroup(name string) slog.Handler {
	return calmHandler{h.Handler.WithGroup(name)}
}
