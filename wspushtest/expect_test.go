package wspushtest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"
)

// Each failure says what was wanted and what came, ends the test, and waits for the deadline if there is anything to wait for.
func TestFailures(t *testing.T) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	closeAll := func(s *wspushtest.Server, code int, reason string) {
		for conn := range s.Worker.Conns() {
			_ = conn.Close(code, reason)
		}
	}
	tests := []struct {
		name string
		test func(s *wspushtest.Server, c *wspushtest.Client)
		want string
		wait time.Duration
	}{
		{"another message", func(s *wspushtest.Server, c *wspushtest.Client) {
			s.PushAndExpect(c, "a")
			s.Push(c, "b")
			c.Expect("a")
		},
			`want the text message "a"; got the text message "b"`, 0},
		{"another type", func(s *wspushtest.Server, c *wspushtest.Client) { s.Push(c, "a"); c.ExpectBinary([]byte("a")) },
			`want the binary message "a"; got the text message "a"`, 0},
		{"a long message", func(s *wspushtest.Server, c *wspushtest.Client) { s.Push(c, strings.Repeat("x", 5000)); c.Expect("a") },
			`want the text message "a"; got the text message "` + strings.Repeat("x", 200) + `"… (5000 bytes)`, 0},
		{"no message", func(_ *wspushtest.Server, c *wspushtest.Client) { c.Expect("a") },
			`want the text message "a"; nothing arrived within 5s`, 5 * time.Second},
		{"no message, another deadline", func(_ *wspushtest.Server, c *wspushtest.Client) { c.Within(time.Minute).Next() },
			`want a message; nothing arrived within 1m0s`, time.Minute},
		{"no message, no waiting", func(_ *wspushtest.Server, c *wspushtest.Client) { c.Within(0).Next() },
			`want a message; nothing arrived within 0s`, 0},
		{"the end in place of a message", func(s *wspushtest.Server, c *wspushtest.Client) { closeAll(s, 4000, "bye"); c.Expect("a") },
			`want the text message "a"; the connection was closed with 4000 "bye"`, 0},
		{"a loss in place of a message", func(_ *wspushtest.Server, c *wspushtest.Client) { c.Disconnect(); c.Next() },
			`want a message; the connection ended without a close frame (1006)`, 0},
		{"something in place of nothing", func(s *wspushtest.Server, c *wspushtest.Client) { s.Push(c, "a"); c.ExpectNothing(time.Second) },
			`want nothing for 1s; got the text message "a"`, 0},
		{"the end in place of nothing", func(s *wspushtest.Server, c *wspushtest.Client) { closeAll(s, 1000, ""); c.ExpectNothing(time.Second) },
			`want nothing for 1s; the connection was closed with 1000 ""`, 0},
		{"a message in place of the end", func(s *wspushtest.Server, c *wspushtest.Client) {
			s.Push(c, "a")
			closeAll(s, 1000, "")
			c.ExpectClose(1000)
		}, `want the connection to be closed with 1000; got the text message "a"`, 0},
		{"another end", func(s *wspushtest.Server, c *wspushtest.Client) { closeAll(s, 1008, "rude"); c.ExpectClose(1000) },
			`want the connection to be closed with 1000; the connection was closed with 1008 "rude"`, 0},
		{"no end", func(_ *wspushtest.Server, c *wspushtest.Client) { c.ExpectClose(1000) },
			`want the connection to be closed with 1000; nothing arrived within 5s`, 5 * time.Second},
		{"sending after the end", func(s *wspushtest.Server, c *wspushtest.Client) {
			closeAll(s, 1000, "done")
			c.ExpectClose(1000)
			c.Send("a")
		}, `sending the text message "a": the connection was closed with 1000 "done"`, 0},
		{"closing after the end", func(s *wspushtest.Server, c *wspushtest.Client) {
			closeAll(s, 1000, "done")
			c.ExpectClose(1000)
			c.Close(1000, "")
		}, `closing with 1000 "": the connection was closed with 1000 "done"`, 0},
		{"pushing to nobody", func(s *wspushtest.Server, c *wspushtest.Client) { c.ID = id; s.Push(c, "a") },
			`pushing "a": wspush: no such connection`, 0},
		{"pushing without an ID", func(s *wspushtest.Server, c *wspushtest.Client) { c.ID = ""; s.Push(c, "a") },
			`pushing "a": the greeting is not wspush's default, so the connection's ID is unknown: find it and set Client.ID`, 0},
		{"pushing to who does not read", func(s *wspushtest.Server, c *wspushtest.Client) { c.Pause(); s.Push(c.Within(time.Second), "a") },
			`pushing "a": wspush: the message may have been written in part: the wait ended; the connection is open and will write the rest`, time.Second},
		{"no address", func(_ *wspushtest.Server, c *wspushtest.Client) {
			c.Addresses, c.Greeting = nil, wspushtest.Message{Type: wspush.Text, Data: []byte("hi")}
			c.Address()
		}, `the client has no address: the text message "hi" is not wspush's default greeting`, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var took time.Duration
				wantFailure(t, "fatal: "+tt.want, func(tb testing.TB) {
					s := wspushtest.New(tb, nil)
					c := s.Connect()
					begin := time.Now()
					defer func() { took = time.Since(begin) }()
					tt.test(s, c)
				})
				if took != tt.wait {
					t.Errorf("took %v, want %v", took, tt.wait)
				}
			})
		})
	}
}

// failing has functions that fail on the line after the one that they log.
var failing = map[string]func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client){
	"Expect": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		c.Expect("a")
	},
	"ExpectBinary": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		c.ExpectBinary(nil)
	},
	"ExpectClose": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		c.ExpectClose(1000)
	},
	"ExpectNothing": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		s.Push(c, "a")
		t.Log("here")
		c.ExpectNothing(time.Second)
	},
	"Next": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		c.Next()
	},
	"Send": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		c.Disconnect()
		t.Log("here")
		c.Send("a")
	},
	"SendBinary": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		c.Disconnect()
		t.Log("here")
		c.SendBinary(nil)
	},
	"Close": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		c.Disconnect()
		t.Log("here")
		c.Close(1000, "")
	},
	"Address": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		c.Addresses = nil
		t.Log("here")
		c.Address()
	},
	"Push": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		c.ID = ""
		t.Log("here")
		s.Push(c, "a")
	},
	"PushAndExpect": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		s.PushAndExpect(c.Within(0), "a")
	},
	"Connect": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		wspushtest.Connect(t, http.NotFoundHandler(), "/ws", nil)
	},
	"Server.Connect": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_ = s.Worker.Shutdown(ctx)
		t.Log("here")
		s.Connect()
	},
	"Dial": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		wspushtest.Dial(t, "ftp://127.0.0.1", nil)
	},
	"ExpectRefused": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		wspushtest.ExpectRefused(t, s.Handler, "/ws", 403, nil)
	},
	"HTTPClient": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		wspushtest.HTTPClient(t, nil)
	},
	"New": func(t *testing.T, s *wspushtest.Server, c *wspushtest.Client) {
		t.Log("here")
		wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{Advertise: []string{"?"}}})
	},
}

// misplaced is a test whose subtests use things that belong to it.
func misplaced(t *testing.T) {
	s := wspushtest.New(t, nil)
	c := s.Connect()
	t.Run("client", func(t *testing.T) {
		m := c.Within(0).Next()
		fmt.Printf("goes on with %d bytes; failed: %t\n", len(m.Data), t.Failed())
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_ = s.Worker.Shutdown(ctx)
	t.Run("server", func(t *testing.T) {
		s.Connect()
		fmt.Println("server goes on")
	})
	fmt.Println("test goes on")
}

// fails is set in the process in which TestFails should fail.
const fails = "WSPUSHTEST_FAILS"

// TestFails runs the failing code, for TestLines and TestSubtests.
func TestFails(t *testing.T) {
	if os.Getenv(fails) == "" {
		t.Skip("fails only for TestLines and TestSubtests")
	}
	t.Run("misplaced", misplaced)
	for name, fail := range failing {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{Logger: slog.New(slog.DiscardHandler)}})
				fail(t, s, s.Connect())
			})
		})
	}
}

// runFails returns the output of the parts of TestFails that match.
func runFails(t *testing.T, match string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFails$/"+match, "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), fails+"=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Fatalf("TestFails passes: %v\n%s", err, out)
	}
	return string(out)
}

// In a subtest, a client of the test fails only the test, which goes on; Connect of the test's Server ends both.
func TestSubtests(t *testing.T) {
	out := runFails(t, "^misplaced$")
	for text, want := range map[string]bool{
		"want a message; nothing arrived within 0s":        true,
		"goes on with 0 bytes; failed: false":              true,
		"--- PASS: TestFails/misplaced/client":             true,
		"connecting to /ws: the handshake was refused":     true,
		"--- FAIL: TestFails/misplaced/server":             true,
		"subtest may have called FailNow on a parent test": true,
		"server goes on":                  false,
		"test goes on":                    false,
		"--- FAIL: TestFails/misplaced (": true,
	} {
		if got := strings.Contains(out, text); got != want {
			t.Errorf("the output has %q: %t, want %t", text, got, want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// Failures are reported at the caller's line.
func TestLines(t *testing.T) {
	out := runFails(t, "^[A-Z]")
	reports := regexp.MustCompile(`(?m)^ +(\w+\.go):(\d+): here\n +(\w+\.go):(\d+): `).FindAllStringSubmatch(out, -1)
	for _, r := range reports {
		line, _ := strconv.Atoi(r[2])
		if want := fmt.Sprint(line + 1); r[1] != r[3] || r[4] != want {
			t.Errorf("reported at %s:%s, want %s:%s", r[3], r[4], r[1], want)
		}
	}
	if len(reports) != len(failing) {
		t.Errorf("%d reports, want %d\n%s", len(reports), len(failing), out)
	}
}
