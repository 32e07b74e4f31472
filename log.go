package wspush

import (
	"context"
	"log/slog"
	"runtime/debug"
)

// warnings is a slog.Handler that drops records below Warn. It is the default for an application that sets no Logger.
type warnings struct{ slog.Handler }

func (h warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{h.Handler.WithAttrs(attrs)}
}

func (h warnings) WithGroup(name string) slog.Handler { return warnings{h.Handler.WithGroup(name)} }

// logPanic logs a panic that a deferred function has recovered from a callback of the application.
func logPanic(log *slog.Logger, callback string, recovered any, attrs ...any) {
	log.With(attrs...).Error("wspush: panic in a callback", "callback", callback, "panic", recovered, "stack", string(debug.Stack()))
}

// logPushPanic logs a panic that serving a plain push has ended in. It is a mistake of this package's, or of the application's
// Logger.
func logPushPanic(log *slog.Logger, recovered any) {
	log.Error("wspush: panic in the push endpoint", "panic", recovered, "stack", string(debug.Stack()))
}
