package wspush_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Without a Logger, ordinary events are not logged, but a panic in a callback is. With one, ordinary events are logged at Debug, and
// the advertised addresses at Info. No record holds more than 8 digits of an ID.
func TestLog(t *testing.T) {
	run := func(logger *slog.Logger) (id string) {
		w, err := wspush.NewWorker(&wspush.WorkerOptions{Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		c, conn, address := dial(t, w, serve(t, w, &wspush.HandlerOptions{
			OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) { panic("a mistake") },
		}), testutil.Options{})
		post(t, address, "", []byte("x"))
		post(t, address+"/nowhere", "", []byte("x"))
		c.Send(testutil.Text, nil)
		c.AwaitClose()
		c.Close()
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		return conn.ID()
	}
	capture := func(level slog.Level) (*bytes.Buffer, *slog.Logger) {
		var log bytes.Buffer
		return &log, slog.New(slog.NewTextHandler(&syncWriter{w: &log}, &slog.HandlerOptions{Level: level}))
	}

	log, logger := capture(slog.LevelDebug)
	before := slog.Default()
	slog.SetDefault(logger)
	defer slog.SetDefault(before)
	id := run(nil)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, id[:8]) || strings.Contains(got, id[:9]) {
		t.Errorf("without a Logger:\n%s", got)
	}

	log, logger = capture(slog.LevelDebug)
	id = run(logger)
	for _, want := range []string{
		`level=INFO msg="wspush: worker started" addr=127.0.0.1:`,
		"advertises=[http://127.0.0.1:",
		`level=DEBUG msg="wspush: connected" conn=` + id[:8],
		`level=DEBUG msg="wspush: disconnected" conn=` + id[:8] + " cause=callback code=1011",
		"status=404",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no record with %s in\n%s", want, log)
		}
	}
	if strings.Contains(log.String(), id[:9]) {
		t.Errorf("more than 8 digits of an ID in\n%s", log)
	}
}
