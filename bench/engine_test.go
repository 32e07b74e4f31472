package main

import (
	"strings"
	"testing"
)

// Without redis-server, the group says what is missing.
func TestNoRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	r := &run{results: &Results{Versions: map[string]string{}}, dir: t.TempDir()}
	e, err := startRedis(t.Context(), r)
	if err == nil {
		e.stop()
		t.Fatal("it starts")
	}
	if !strings.Contains(err.Error(), "-group users and sessions need redis-server") {
		t.Errorf("got %v", err)
	}
}
