package recipetest

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

// Log is an access log that can be read while it is being written.
type Log struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Await waits until the log contains text: a handler may log after the client has its answer.
func (l *Log) Await(t testing.TB, text string) {
	t.Helper()
	testutil.Eventually(t, "the log has "+text, func() bool { return strings.Contains(l.String(), text) })
}

// HasNot fails the test if the log contains the secret.
func (l *Log) HasNot(t testing.TB, secret string) {
	t.Helper()
	if strings.Contains(l.String(), secret) {
		t.Errorf("the log has a secret in it:\n%s", l)
	}
}
