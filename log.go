package wspush

import (
	"context"
	"log/slog"
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

// short is as much of an ID as logs and errors show: enough to tell connections apart, and no right to push.
func short(id string) string { return id[:min(len(id), 8)] }
