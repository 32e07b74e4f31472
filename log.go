package wspush

import (
	"context"
	"log/slog"
	"runtime/debug"
)

// warnings lets records from Warn upwards through: what reaches an application that asked for no log.
type warnings struct{ slog.Handler }

func (h warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{h.Handler.WithAttrs(attrs)}
}

func (h warnings) WithGroup(name string) slog.Handler { return warnings{h.Handler.WithGroup(name)} }

// logPanic records what a deferred call has recovered from a callback of the application.
func logPanic(log *slog.Logger, callback string, recovered any, attrs ...any) {
	log.With(attrs...).Error("wspush: panic in a callback", "callback", callback, "panic", recovered, "stack", string(debug.Stack()))
}
