package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/wspush/wspush"
)

// The settings of a worker with sessions, beside those of every worker here. The window is longer than anything that only cuts clients off.
const (
	resumeWindow     = 12 * time.Second
	drainSessionOver = 500 * time.Millisecond

	// How much a client may be sent that it has not confirmed: with an odd seed less than the kernel holds for one that does not read, with an even
	// one more, so that writes come to nothing.
	littleUnconfirmed = 64 << 10
	muchUnconfirmed   = 1 << 20
)

// Note is what a worker with sessions writes down at once, in a file that outlives it: a session has begun, or its client is back, or it has ended.
type Note struct {
	ID     string
	At     time.Time
	Sealed string   `json:",omitempty"` // the same at this worker, if there are others
	User   string   `json:",omitempty"` // the keys, of one that has begun
	Groups []string `json:",omitempty"`

	Resumed     bool   `json:",omitempty"` // its client has come back to it here
	Cause       string `json:",omitempty"` // of one that has ended
	Unconfirmed []Left `json:",omitempty"`
}

// Left is a message that was Unconfirmed when its session ended.
type Left struct {
	Message
	Written bool
	Fault   string `json:",omitempty"` // what is wrong with it
}

// sessionWorker is a process under test whose clients have sessions. It is told nothing but signals.
func sessionWorker(args []string) error {
	flags := flag.NewFlagSet("session-worker", flag.ContinueOnError)
	push := flags.String("push", "", "`address` of the push listener")
	public := flags.String("public", "", "`address` for clients")
	notes := flags.String("notes", "", "`file` for what becomes of sessions")
	file := flags.String("session-file", "", "`file` for sessions, while no process has them")
	key := flags.String("key", "", "hexadecimal `key` of the cluster; none by default")
	address := flags.String("address", "", "`address` for the other workers")
	directory := flags.String("directory", "", "`URL` of the directory's engine, or peers: and a file with the workers' addresses")
	drain := flags.Duration("drain", drainTimeout, "for Shutdown")
	unconfirmed := flags.Int("unconfirmed", 0, "MaxUnconfirmed, in `bytes`")
	verbose := flags.Bool("v", false, "log at debug level")
	if err := flags.Parse(args); err != nil {
		return err
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	book, err := os.Create(*notes)
	if err != nil {
		return err
	}
	defer book.Close()
	n := &notary{file: book, log: log}

	opts := &wspush.WorkerOptions{
		Listen: *push, MaxPushBytes: maxPushBytes, MaxPending: maxPending, WriteTimeout: writeTimeout, PushTimeout: pushTimeout,
		DrainOver: drainSessionOver, Logger: log, SessionFile: *file, AuthorizePush: func(*http.Request) error { return nil },
	}
	if *key != "" {
		secret, err := hex.DecodeString(*key)
		if err != nil {
			return err
		}
		opts.Cluster, opts.PublicURL = &wspush.Cluster{Keys: [][]byte{secret}, Address: *address}, "http://push.example.com"
		end, err := joinDirectory(*directory, opts, &wspush.HandlerOptions{})
		if err != nil {
			return err
		}
		defer end()
	}
	w, err := wspush.NewWorker(opts)
	if err != nil {
		return err
	}
	handler, err := wspush.NewHandler(w, &wspush.HandlerOptions{
		PingInterval: pingInterval, IdleTimeout: idleTimeout, ResumeWindow: resumeWindow, MaxUnconfirmed: *unconfirmed, Compression: true,
		Accept: func(r *http.Request) (any, error) { return r.URL.Query(), nil },
		User:   func(_ *http.Request, value any) string { return value.(url.Values).Get("user") },
		Groups: func(c *wspush.Conn) []string {
			n.begun(c) // before anybody can push to it
			return c.Value().(url.Values)["group"]
		},
		SaveValue:    func(value any) ([]byte, error) { return []byte(value.(url.Values).Encode()), nil },
		LoadValue:    func(data []byte) (any, error) { return url.ParseQuery(string(data)) },
		OnResume:     n.resumed,
		OnDisconnect: n.ended,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	listener, err := listenWithSendBuffer(*public)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("ready")
	select {
	case err := <-served:
		return err
	case <-terminated:
		ctx, cancel := context.WithTimeout(context.Background(), *drain)
		defer cancel()
		err := w.Shutdown(ctx)
		if errors.Is(err, fs.ErrExist) {
			err = nil // somebody else's session file, which is part of the chaos
		}
		// Not the server's Shutdown, which waits 5 s for connections over which nothing has come: here, there are always some.
		return errors.Join(err, server.Close())
	}
}

// notary writes notes. What one write(2) has given to the system is there even if this process is killed.
type notary struct {
	log *slog.Logger

	mu   sync.Mutex // guards the order of writes
	file *os.File
}

func (n *notary) begun(c *wspush.Conn) {
	value := c.Value().(url.Values)
	n.write(Note{ID: c.ID(), Sealed: c.SealedID(), User: value.Get("user"), Groups: value["group"]})
}

func (n *notary) resumed(c *wspush.Conn) {
	if sealed := c.SealedID(); sealed != "" {
		n.write(Note{ID: c.ID(), Sealed: sealed, Resumed: true})
	}
}

func (n *notary) ended(c *wspush.Conn, err error) {
	note := Note{ID: c.ID(), Sealed: c.SealedID(), Cause: "none"}
	var reason *wspush.CloseError
	if errors.As(err, &reason) {
		note.Cause = string(reason.Cause)
	}
	for m := range c.Unconfirmed() {
		left := Left{Written: m.Written}
		left.Message, left.Fault = decodeMarked(m.Data, m.Type == wspush.Binary)
		note.Unconfirmed = append(note.Unconfirmed, left)
	}
	n.write(note)
}

func (n *notary) write(note Note) {
	note.At = time.Now()
	line, err := json.Marshal(note)
	if err == nil {
		n.mu.Lock()
		defer n.mu.Unlock()
		_, err = n.file.Write(append(line, '\n'))
	}
	if err != nil {
		n.log.Error("a note is lost", "error", err)
	}
}

// sessionWorkers are the processes of the worker, one after another.
type sessionWorkers struct {
	mu    sync.Mutex // guards the fields below
	notes []string   // the files of the processes so far
	file  string     // where the next process finds and leaves sessions; "" if there are none, and it is to leave none
}

// sessionCommand returns the arguments of the next process.
func (s *site) sessionCommand() []string {
	w := &s.workers
	w.mu.Lock()
	defer w.mu.Unlock()
	notes := filepath.Join(s.dir, fmt.Sprintf("notes%d", len(w.notes)))
	w.notes = append(w.notes, notes)
	unconfirmed := littleUnconfirmed
	if s.seed%2 == 0 {
		unconfirmed = muchUnconfirmed
	}
	return []string{"session-worker", "-notes", notes, "-session-file", w.file, "-unconfirmed", strconv.Itoa(unconfirmed)}
}

// sessionFile is where sessions are while no process has them.
func (s *site) sessionFile() string { return filepath.Join(s.dir, "sessions") }

// betweenStops says which process comes next: between one that has ended, and one that will. It needs no file after one that has left nothing if it
// is to leave nothing itself.
func (s *site) betweenStops(before, after eventKind) {
	s.workers.mu.Lock()
	defer s.workers.mu.Unlock()
	if s.workers.file = s.sessionFile(); before != restart && after == finish {
		s.workers.file = ""
	}
}

// obstruct has the worker that is told to stop next fail to leave its sessions, if it means to. clear ends that.
func (s *site) obstruct() (clear func()) {
	s.workers.mu.Lock()
	defer s.workers.mu.Unlock()
	if s.workers.file == "" {
		return func() {}
	}
	if err := os.WriteFile(s.workers.file, []byte("in the way\n"), 0o600); err != nil {
		s.fault("%v", err)
	}
	return func() { os.Remove(s.sessionFile()) }
}

// read returns the notes of each process. The last line of one that was killed may be torn.
func (w *sessionWorkers) read(fault func(format string, args ...any)) (all [][]Note) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.notes {
		var notes []Note
		file, err := os.Open(name)
		if err != nil {
			fault("%v", err)
		} else {
			notes = readNotes(file)
			file.Close()
		}
		all = append(all, notes)
	}
	return all
}

func readNotes(file *os.File) (notes []Note) {
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return notes
		}
		var note Note
		if json.Unmarshal(line, &note) == nil {
			notes = append(notes, note)
		}
	}
}
